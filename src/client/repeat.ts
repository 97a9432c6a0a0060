/** Which failed calls are made again, and when. */
import type { DescMethod } from '@bufbuild/protobuf';
import { MethodOptions_IdempotencyLevel as IdempotencyLevel } from '@bufbuild/protobuf/wkt';
import { status } from '@grpc/grpc-js';
import type { MessagingError } from './messaging-error.ts';

/** A call that failed and is about to be made again. */
export interface Retry {
  /** Full name, e.g. `messaging.v1.MessageService/SendMessage`. */
  readonly method: string;
  /** Attempts that have failed so far; of a stream, since it last brought something. */
  readonly attempts: number;
  readonly error: MessagingError;
  /** Pause before the next attempt. */
  readonly waitMs: number;
}

/** Beside those whose idempotency level says so: their contract promises in words that a second call changes nothing. */
const SETTLING: ReadonlySet<string> = new Set([
  ...['CreateConversation', 'MarkConversationRead', 'ArchiveConversation', 'CloseConversation'],
  ...['Check', 'List'],
]);

/** Whether a call may be made again although the first attempt may have had its effect. */
export function isRepeatable({ idempotency, name }: DescMethod, hasRequestId: boolean, hasEtag: boolean): boolean {
  if (idempotency === IdempotencyLevel.NO_SIDE_EFFECTS || idempotency === IdempotencyLevel.IDEMPOTENT) return true;
  // The first attempt may have changed the etag, and the second one would fail for it.
  return hasRequestId || (SETTLING.has(name) && !hasEtag);
}

const detailsOf = ({ cause }: MessagingError): string =>
  cause instanceof Error && 'details' in cause && typeof cause.details === 'string' ? cause.details : '';

const UNSENT = /^(round_robin: )?(No connection established|Name resolution failed|No addresses resolved)/;
/** It never left: grpc-js had no connection to send it on. */
const wasNotSent = (error: MessagingError): boolean => error.code === status.UNAVAILABLE && UNSENT.test(detailsOf(error));

/**
 * The connection or the stream ended under the call. What the service answers always has a reason; grpc-js reports what it sees of a
 * process that dies as UNAVAILABLE, and, when the stream is seen to end before the connection, as CANCELLED or INTERNAL.
 */
const wasCut = (error: MessagingError): boolean =>
  error.reason === '' &&
  [status.CANCELLED, status.INTERNAL].includes(error.code) &&
  /^(Call cancelled|Received RST_STREAM)/.test(detailsOf(error));

/** `repeatable`: the call may have had its effect, and may be made again all the same. */
export function mayRepeat(error: MessagingError, repeatable: boolean): boolean {
  if (wasNotSent(error) || error.reason === 'REQUEST_IN_PROGRESS') return true;
  // Refused before anything was read; another process, or the same one later, has room.
  if (error.reason === 'TOO_MANY_STREAMS') return true;
  return repeatable && (error.code === status.UNAVAILABLE || wasCut(error));
}

const FIRST_PAUSE_MS = 50;
const DOUBLINGS = 10;

/** Half of it at random, so that callers that failed together do not come back together; never earlier than the service asked for. */
export function pauseMs(failures: number, maxMs: number, error: MessagingError, random: () => number): number {
  const fullMs = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(failures - 1, DOUBLINGS), maxMs);
  return Math.max(fullMs * (0.5 + random() / 2), error.retryAfterMs ?? 0);
}

export interface RetryBudget {
  succeeded(): void;
  /** Whether one more attempt is affordable; takes it from the budget. */
  allows(error: MessagingError): boolean;
}

const MAX_TOKENS = 50;
const TOKENS_PER_SUCCESS = 0.2;

/**
 * Repeating must not keep a struggling service down: of attempts that it *answered* with a failure, no more than one in five calls is
 * repeated in the long run. Lost connections cost it nothing, and are not counted.
 */
export function createRetryBudget(): RetryBudget {
  let tokens = MAX_TOKENS;
  return {
    succeeded() {
      tokens = Math.min(MAX_TOKENS, tokens + TOKENS_PER_SUCCESS);
    },
    allows({ reason }) {
      if (reason === '') return true;
      if (tokens < 1) return false;
      tokens -= 1;
      return true;
    },
  };
}
