/** What went wrong, in a sentence, and what to do about it. */
import { MessagingError, status } from '../client/messaging-client.ts';

export interface Explained {
  readonly code: string;
  readonly reason: string;
  readonly message: string;
  readonly advice: string;
}

const ADVICE: Partial<Record<status, string>> = {
  [status.UNAVAILABLE]: 'Start the service, or name another with --address or MSGCTL_ADDRESS; --ca or --tls when it speaks TLS.',
  [status.DEADLINE_EXCEEDED]: 'Try again, allow more with --timeout-ms, or look at the health of the service: msgctl health.',
  [status.UNAUTHENTICATED]: 'Say who calls: --cert with --key, or --token-file.',
  [status.PERMISSION_DENIED]: 'Call with a certificate or token whose role may do this.',
  [status.NOT_FOUND]: 'Check the id: msgctl list and msgctl conversations list show ids.',
  [status.UNIMPLEMENTED]: 'The service is older than this msgctl: use the msgctl of its version.',
  [status.RESOURCE_EXHAUSTED]: 'Wait, then ask for less at once.',
  [status.INTERNAL]: 'That is a defect of the service: its log has more.',
};

const ADVICE_BY_REASON: Readonly<Record<string, string>> = {
  NOT_RETRYABLE: 'Add --force to send it all the same; the recipient may get it twice.',
  STATUS_FORBIDS: 'Look at what it is now: msgctl get ID.',
  RECIPIENT_OPTED_OUT: 'Nothing can be sent until the recipient opts in again.',
  CACHE_UNAVAILABLE: 'Redis does not answer, or is not trusted yet: msgctl cache stats tells.',
  STORAGE_UNAVAILABLE: 'PostgreSQL does not answer; try again once it does.',
  DRAINING: 'It is being stopped; try again.',
  CACHE_OFF: 'The service runs without Redis: set REDIS_HOST.',
  RESUME_TOKEN_INVALID: 'Begin anew without --resume-token.',
  RESUME_TOKEN_EXPIRED: 'Begin anew without --resume-token.',
};

/** grpc-js tells it wrapped in what each of its layers was doing. */
const innermost = (said: string): string => /.*Last error: (?:Error: )?(.+?)\.? Resolution note/s.exec(said)?.[1] ?? said;

function sentenceOf({ code, reason, message, fieldViolations }: MessagingError, address: string): string {
  const said = message.replace(/^[A-Z_]+: /, '');
  // With a reason it is the service itself that says so.
  if (code === status.UNAVAILABLE && reason === '') return `No service answers at ${address}: ${innermost(said)}`;
  if (code === status.DEADLINE_EXCEEDED) return `The service at ${address} did not answer in time`;
  if (fieldViolations.length === 0) return said;
  return `The service refuses this: ${fieldViolations.map(({ field, description }) => `${field} ${description}`).join('; ')}`;
}

const ended = (sentence: string): string => (/[.!?]$/.test(sentence) ? sentence : `${sentence}.`);

export function explain(error: unknown, address: string): Explained {
  if (!(error instanceof MessagingError)) {
    const message = error instanceof Error ? error.message : String(error);
    return { code: 'FAILED', reason: '', message: ended(message), advice: '' };
  }
  const advice = ADVICE_BY_REASON[error.reason] ?? ADVICE[error.code] ?? 'See msgctl COMMAND --help.';
  return { code: status[error.code] ?? 'UNKNOWN', reason: error.reason, message: ended(sentenceOf(error, address)), advice };
}
