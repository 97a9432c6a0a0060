/** Twilio's Messages API through its SDK. */
import type { Twilio } from 'twilio';
import type RequestClient from 'twilio/lib/base/RequestClient.js';
import { ECHO, type LookupOutcome, type LostSubmission, type Submission } from '../domain/provider-client.ts';
import type { Transport } from './exchange.ts';
import type { Limits, ProviderApi, Refusal } from './guarded-client.ts';

export interface TwilioOptions {
  readonly accountSid: string;
  readonly authToken: string;
  /** Without a slash at its end. */
  readonly apiUrl: string;
  /** Where Twilio reports to; empty: it does not. */
  readonly publicUrl: string;
  readonly limits: Limits;
}

const MAX_VALIDITY_SECONDS = 36_000;
const LOOK_UP_PAGE_SIZE = 100;
const LOOK_UP_MAX_PAGES = 5;
/** How far Twilio's clock, which tells whole seconds, may be behind ours. */
const CLOCK_SKEW_MS = 60_000;

type MessageListInstance = Twilio['messages'];
type MessageParameters = Parameters<MessageListInstance['create']>[0];
type MessageInstance = Awaited<ReturnType<MessageListInstance['create']>>;
type MessagePage = Pick<Awaited<ReturnType<MessageListInstance['page']>>, 'instances' | 'nextPageUrl' | 'nextPage'>;

/** Twilio repeats a callback up to 5 times after any failure (`rc`, `rp`) when its URL says so. */
function statusCallbackOf(publicUrl: string, { messageId, attempt }: Submission): string {
  const echo = new URLSearchParams({ [ECHO.messageId]: messageId, [ECHO.attempt]: String(attempt) });
  return `${publicUrl}/webhooks/twilio/status?${echo}#rc=5&rp=all`;
}

function parametersOf(submission: Submission, publicUrl: string): MessageParameters {
  const { fromAddress, toAddress, body, attachments, validityMs } = submission;
  return {
    to: toAddress,
    from: fromAddress,
    ...(body === '' ? {} : { body }),
    ...(attachments.length === 0 ? {} : { mediaUrl: attachments.map(({ url }) => url) }),
    ...(publicUrl === '' ? {} : { statusCallback: statusCallbackOf(publicUrl, submission) }),
    validityPeriod: Math.min(Math.max(Math.floor(validityMs / 1_000), 1), MAX_VALIDITY_SECONDS),
  };
}

async function connect({ accountSid, authToken, apiUrl, limits }: TwilioOptions, transport: Transport): Promise<Twilio> {
  const { default: twilio } = await import('twilio');
  class Requests extends twilio.RequestClient {
    override request<Data>(options: RequestClient.RequestOptions<Data>) {
      const { pathname, search } = new URL(options.uri);
      // Pages to follow are named by whoever answered: the credentials go to no other place than this.
      return super.request({ ...options, uri: `${apiUrl}${pathname}${search}`, allowRedirects: false, logLevel: 'off' });
    }
  }
  // Its time-outs come after ours, which tell what had been sent.
  const httpClient = new Requests({ autoRetry: false, timeout: 2 * limits.timeoutMs });
  Object.assign(httpClient.axios.defaults, transport.settings);
  return twilio(accountSid, authToken, { httpClient, logLevel: 'off' });
}

/** Messages about a message: what its sender, recipient or content is refused for. */
const isAboutMessage = (code: number): boolean => code >= 21_000 && code < 22_000;

function refusalOf(error: unknown): Refusal {
  const { status, code, message } = error as { readonly status?: unknown; readonly code?: unknown; readonly message?: unknown };
  // Only what the SDK makes of an answer has a status and Twilio's own number.
  const told = typeof status === 'number' && typeof code === 'number' && code > 0;
  return told
    ? { code: String(code), text: typeof message === 'string' ? message : '', blamesMessage: isAboutMessage(code) }
    : { code: '', text: '', blamesMessage: false };
}

const isSame = (lost: LostSubmission, { body, to, from }: MessageInstance): boolean =>
  body === lost.body && to === lost.toAddress && from === lost.fromAddress;

/** By creation, since what still waits at Twilio has no time of sending and would be missing from a list filtered by it. */
async function find(messages: MessageListInstance, lost: LostSubmission): Promise<LookupOutcome> {
  const sinceMs = lost.startedAt.getTime() - CLOCK_SKEW_MS;
  const found: { readonly sid: string; readonly createdMs: number }[] = [];
  let page: MessagePage | undefined = await messages.page({
    to: lost.toAddress,
    from: lost.fromAddress,
    pageSize: LOOK_UP_PAGE_SIZE,
  });
  let isWhole = false;
  for (let pages = 1; page !== undefined && !isWhole; pages += 1) {
    const created = page.instances.map((message) => ({ message, sid: message.sid, createdMs: new Date(message.dateCreated).getTime() }));
    found.push(...created.filter(({ message, createdMs }) => createdMs >= sinceMs && isSame(lost, message)));
    // Newest first: a page that ends before our time is the last one of interest.
    const oldest = created.at(-1);
    isWhole = page.nextPageUrl === undefined || oldest === undefined || oldest.createdMs < sinceMs;
    if (isWhole || pages === LOOK_UP_MAX_PAGES) break;
    page = await page.nextPage();
  }
  if (found.length === 0) return isWhole ? { kind: 'absent' } : { kind: 'unavailable' };
  const oldestFirst = found.toSorted((one, other) => one.createdMs - other.createdMs);
  return { kind: 'found', by: 'content', providerMessageIds: oldestFirst.map(({ sid }) => sid) };
}

export function twilioApi(options: TwilioOptions, transport: Transport): ProviderApi {
  let connected: Promise<Twilio> | undefined;
  const load = (): Promise<Twilio> => {
    connected ??= connect(options, transport);
    return connected;
  };
  return {
    provider: 'twilio',
    url: new URL(options.apiUrl),
    remedy: 'Set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN to those of an active account and start the process again',
    load,
    submit: (submission, _preparationMs, ask) =>
      ask(async () => {
        const { messages } = await load();
        return (await messages.create(parametersOf(submission, options.publicUrl))).sid;
      }),
    sendersMayLookUp: true,
    lookUp: async (lost) => find((await load()).messages, lost),
    refusalOf,
  };
}
