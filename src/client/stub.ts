/** A service descriptor and a connection -> an object with one typed function per RPC. */
import type { DescMessage, DescMethod, DescService, Message, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import type { Client } from '@grpc/grpc-js';
import { canceledError, MessagingError } from './messaging-error.ts';
import { isResumable, prepareRequest, tokenOf } from './prepared-request.ts';
import { mayRepeat, pauseMs, type Retry, type RetryBudget } from './repeat.ts';
import { type Attempt, openStream, sendUnary, type TokenSource } from './wire.ts';

/** What a call can be told. */
export interface CallOptions {
  /** From the start of the call, retries included. Default 5,000 for unary calls, none for streams; Infinity: none. */
  readonly deadlineMs?: number;
  /** Cancels the call, which then fails with CANCELLED. */
  readonly signal?: AbortSignal;
  /** Request headers. Names ending in `-bin` are not supported. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Receives the response headers, such as `x-cache`, before the answer; of each attempt. */
  readonly onHeaders?: (headers: Readonly<Record<string, string>>) => void;
}

/** Rejects with MessagingError. */
export type UnaryCall<Input extends DescMessage, Output extends DescMessage> = (
  request: MessageInitShape<Input>,
  options?: CallOptions,
) => Promise<MessageShape<Output>>;

/**
 * The call starts with the first `next()` and ends when the loop over it is left. Iterating throws MessagingError. Once it has brought
 * something, it goes on by itself after its connection or server is lost, from where it was (`resume_token`), for as long as it takes;
 * what came last may come again.
 */
export type ServerStreamCall<Input extends DescMessage, Output extends DescMessage> = (
  request: MessageInitShape<Input>,
  options?: CallOptions,
) => AsyncIterable<MessageShape<Output>>;

type Call<Method> = Method extends { methodKind: 'unary'; input: infer Input extends DescMessage; output: infer Output extends DescMessage }
  ? UnaryCall<Input, Output>
  : Method extends { methodKind: 'server_streaming'; input: infer Input extends DescMessage; output: infer Output extends DescMessage }
    ? ServerStreamCall<Input, Output>
    : never;

/** One function per RPC of a service, named as in the contract, in camel case. */
export type Stub<Service extends Pick<DescService, 'method'>> = {
  readonly [Name in keyof Service['method']]: Call<Service['method'][Name]>;
};

/** What every call of a client starts from. */
export interface CallDefaults {
  readonly unaryDeadlineMs: number;
  readonly metadata: Readonly<Record<string, string>>;
  readonly token: TokenSource | undefined;
  /** The first one counts. */
  readonly maxAttempts: number;
  readonly budget: RetryBudget;
  readonly onRetry: ((retry: Retry) => void) | undefined;
  /** undefined: requests without a request_id are sent as they are. */
  readonly newId: (() => string) | undefined;
  readonly random: () => number;
  /** Resolves early when the signal fires. */
  readonly wait: (ms: number, signal: AbortSignal | undefined) => Promise<void>;
}

const MAX_UNARY_PAUSE_MS = 1_000;
const MAX_STREAM_PAUSE_MS = 5_000;

/** Waits until the next attempt is due; throws `error` when there is to be none, or CANCELLED. */
async function pauseBefore(
  attempt: Attempt,
  defaults: CallDefaults,
  failures: number,
  maxMs: number,
  error: MessagingError,
): Promise<void> {
  const { method, deadline, signal } = attempt;
  const waitMs = pauseMs(failures, maxMs, error, defaults.random);
  if (Date.now() + waitMs >= deadline) throw error;
  defaults.onRetry?.({ method: `${method.parent.typeName}/${method.name}`, attempts: failures, error, waitMs });
  await defaults.wait(waitMs, signal);
  if (signal?.aborted) throw canceledError(signal);
}

function attemptOf(method: DescMethod, defaults: CallDefaults, options: CallOptions, bytes: Uint8Array, deadlineMs: number): Attempt {
  return {
    method,
    bytes,
    deadline: Date.now() + deadlineMs,
    clientHeaders: defaults.metadata,
    headers: options.metadata ?? {},
    token: defaults.token,
    signal: options.signal,
    onHeaders: options.onHeaders,
  };
}

async function callUnary(
  client: Client,
  method: DescMethod,
  defaults: CallDefaults,
  request: MessageInitShape<DescMessage>,
  options: CallOptions,
): Promise<Message> {
  const { bytes, repeatable } = prepareRequest(method, request, defaults.newId);
  const attempt = attemptOf(method, defaults, options, bytes, options.deadlineMs ?? defaults.unaryDeadlineMs);
  for (let failures = 1; ; failures += 1) {
    try {
      const answer = await sendUnary(client, attempt);
      defaults.budget.succeeded();
      return answer;
    } catch (error) {
      if (!(error instanceof MessagingError) || failures >= defaults.maxAttempts || !mayRepeat(error, repeatable)) throw error;
      if (!defaults.budget.allows(error)) throw error;
      await pauseBefore(attempt, defaults, failures, MAX_UNARY_PAUSE_MS, error);
    }
  }
}

async function* callStream(
  client: Client,
  method: DescMethod,
  defaults: CallDefaults,
  request: MessageInitShape<DescMessage>,
  options: CallOptions,
): AsyncGenerator<Message, void, undefined> {
  const prepared = prepareRequest(method, request, defaults.newId);
  const attempt = attemptOf(method, defaults, options, prepared.bytes, options.deadlineMs ?? Number.POSITIVE_INFINITY);
  const resumable = isResumable(method);
  let token: string | undefined;
  let failures = 0;
  for (;;) {
    try {
      for await (const answer of openStream(client, { ...attempt, bytes: prepared.resumedAt(token ?? '') })) {
        token = tokenOf(answer, method);
        failures = 0;
        yield answer;
      }
      return;
    } catch (error) {
      if (!(error instanceof MessagingError) || !mayRepeat(error, resumable)) throw error;
      failures += 1;
      // All was told; only the end of the stream was lost.
      if (resumable && token === '') return;
      if (token === undefined && failures >= defaults.maxAttempts) throw error;
      await pauseBefore(attempt, defaults, failures, MAX_STREAM_PAUSE_MS, error);
    }
  }
}

/** One function per unary and server-streaming RPC of the service, on the given connection. */
export function createStub<Service extends Pick<DescService, 'method' | 'methods'>>(
  service: Service,
  client: Client,
  defaults: CallDefaults,
): Stub<Service> {
  const calls = service.methods.map((method) => {
    const streams = method.methodKind === 'server_streaming';
    const call = streams
      ? (request: MessageInitShape<DescMessage>, options: CallOptions = {}) => callStream(client, method, defaults, request, options)
      : (request: MessageInitShape<DescMessage>, options: CallOptions = {}) => callUnary(client, method, defaults, request, options);
    return [method.localName, call] as const;
  });
  // The descriptor that the type is computed from is the one that the functions were made from.
  return Object.freeze(Object.fromEntries(calls)) as unknown as Stub<Service>;
}
