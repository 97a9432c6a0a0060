/** A service descriptor and a connection -> an object with one typed function per RPC. */

import type { MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { create, type DescMessage, type DescMethod, type DescService, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type Client, Metadata } from '@grpc/grpc-js';
import { context, propagation } from '@opentelemetry/api';
import { canceledError, noTokenError, toMessagingError } from './messaging-error.ts';

export interface CallOptions {
  /** From the start of the call, retries included. Default 5,000 for unary calls, none for streams; Infinity: none. */
  readonly deadlineMs?: number;
  /** Cancels the call, which then fails with CANCELLED. */
  readonly signal?: AbortSignal;
  /** Request headers. Names ending in `-bin` are not supported. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Receives the response headers, such as `x-cache`, before the answer. */
  readonly onHeaders?: (headers: Readonly<Record<string, string>>) => void;
}

/** Rejects with MessagingError. */
export type UnaryCall<Input extends DescMessage, Output extends DescMessage> = (
  request: MessageInitShape<Input>,
  options?: CallOptions,
) => Promise<MessageShape<Output>>;

/** The call starts with the first `next()` and ends when the loop over it is left. Iterating throws MessagingError. */
export type ServerStreamCall<Input extends DescMessage, Output extends DescMessage> = (
  request: MessageInitShape<Input>,
  options?: CallOptions,
) => AsyncIterable<MessageShape<Output>>;

type Call<Method> = Method extends { methodKind: 'unary'; input: infer Input extends DescMessage; output: infer Output extends DescMessage }
  ? UnaryCall<Input, Output>
  : Method extends { methodKind: 'server_streaming'; input: infer Input extends DescMessage; output: infer Output extends DescMessage }
    ? ServerStreamCall<Input, Output>
    : never;

export type Stub<Service extends Pick<DescService, 'method'>> = {
  readonly [Name in keyof Service['method']]: Call<Service['method'][Name]>;
};

/** What every call of a client starts from. */
export interface CallDefaults {
  readonly unaryDeadlineMs: number;
  readonly metadata: Readonly<Record<string, string>>;
  readonly token: TokenSource | undefined;
}

/** A bearer token, or what has the one of this moment. */
export type TokenSource = string | (() => string | Promise<string>);

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

async function tokenOf(source: () => string | Promise<string>): Promise<string> {
  try {
    return await source();
  } catch (error) {
    throw noTokenError(error);
  }
}

/** Headers of one request: the client's, the token, the trace context (nothing without an OpenTelemetry SDK), the call's own. */
async function metadataOf(defaults: CallDefaults, options: CallOptions): Promise<Metadata> {
  const { token: source } = defaults;
  const token = typeof source === 'function' ? await tokenOf(source) : source;
  // It may have taken a while.
  if (options.signal?.aborted) throw canceledError(options.signal);
  const carrier: Record<string, string> = { ...defaults.metadata };
  propagation.inject(context.active(), carrier);
  const metadata = new Metadata();
  if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
  for (const [name, value] of Object.entries({ ...carrier, ...options.metadata })) metadata.set(name, value);
  return metadata;
}

function reportHeaders(headers: Metadata, options: CallOptions): void {
  options.onHeaders?.(Object.fromEntries(Object.entries(headers.getMap()).map(([name, value]) => [name, value.toString()])));
}

async function startUnary(
  client: Client,
  method: DescMethod,
  defaults: CallDefaults,
  request: MessageInitShape<DescMessage>,
  options: CallOptions,
): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const { signal } = options;
  const deadline = deadlineAfter(options.deadlineMs ?? defaults.unaryDeadlineMs);
  const metadata = await metadataOf(defaults, options);
  const call = client.makeUnaryRequest(
    pathOf(method),
    asBuffer,
    (bytes) => fromBinary(method.output, bytes),
    toBinary(method.input, create(method.input, request)),
    metadata,
    { deadline },
    (error, response) => {
      signal?.removeEventListener('abort', abort);
      if (error === null) resolve(response);
      else reject(signal?.aborted ? canceledError(signal) : toMessagingError(error));
    },
  );
  const abort = () => call.cancel();
  signal?.addEventListener('abort', abort, { once: true });
  call.on('metadata', (headers) => reportHeaders(headers, options));
  return promise;
}

async function* startStream(
  client: Client,
  method: DescMethod,
  defaults: CallDefaults,
  request: MessageInitShape<DescMessage>,
  options: CallOptions,
): AsyncGenerator<unknown, void, undefined> {
  const { signal } = options;
  const deadline = deadlineAfter(options.deadlineMs ?? Number.POSITIVE_INFINITY);
  const metadata = await metadataOf(defaults, options);
  const call = client.makeServerStreamRequest<Uint8Array, unknown>(
    pathOf(method),
    asBuffer,
    (bytes) => fromBinary(method.output, bytes),
    toBinary(method.input, create(method.input, request)),
    metadata,
    { deadline },
  );
  // Also after the loop is left: cancelling emits an error that nobody iterates over any more.
  call.on('error', () => {});
  call.on('metadata', (headers) => reportHeaders(headers, options));
  const abort = () => call.cancel();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    yield* call;
  } catch (error) {
    throw signal?.aborted ? canceledError(signal) : toMessagingError(error);
  } finally {
    signal?.removeEventListener('abort', abort);
    call.cancel();
  }
}

function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function deadlineAfter(ms: number): number {
  return Date.now() + ms;
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
      ? (request: MessageInitShape<DescMessage>, options: CallOptions = {}) => startStream(client, method, defaults, request, options)
      : (request: MessageInitShape<DescMessage>, options: CallOptions = {}) => startUnary(client, method, defaults, request, options);
    return [method.localName, call] as const;
  });
  // The descriptor that the type is computed from is the one that the functions were made from.
  return Object.freeze(Object.fromEntries(calls)) as unknown as Stub<Service>;
}
