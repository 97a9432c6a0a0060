/** One attempt at a call: bytes and headers out, an answer or a MessagingError back. */
import { type DescMethod, fromBinary, type Message } from '@bufbuild/protobuf';
import { type Client, Metadata } from '@grpc/grpc-js';
import { context, propagation } from '@opentelemetry/api';
import { canceledError, noTokenError, toMessagingError } from './messaging-error.ts';

export interface Attempt {
  readonly method: DescMethod;
  readonly bytes: Uint8Array;
  /** Milliseconds since 1970; Infinity: none. */
  readonly deadline: number;
  /** Of every request of this client. */
  readonly clientHeaders: Readonly<Record<string, string>>;
  /** Of this call. */
  readonly headers: Readonly<Record<string, string>>;
  readonly token: TokenSource | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onHeaders: ((headers: Readonly<Record<string, string>>) => void) | undefined;
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const pathOf = (method: DescMethod): string => `/${method.parent.typeName}/${method.name}`;

/** A bearer token, or what has the one of this moment. */
export type TokenSource = string | (() => string | Promise<string>);

async function askForToken(source: () => string | Promise<string>): Promise<string> {
  try {
    return await source();
  } catch (error) {
    throw noTokenError(error);
  }
}

/** Headers of one request: the token, the client's, the trace context (nothing without an OpenTelemetry SDK), the call's own. */
async function metadataOf({ clientHeaders, headers, token: source, signal }: Attempt): Promise<Metadata> {
  const token = typeof source === 'function' ? await askForToken(source) : source;
  // It may have taken a while.
  if (signal?.aborted) throw canceledError(signal);
  const carrier: Record<string, string> = { ...clientHeaders };
  propagation.inject(context.active(), carrier);
  const metadata = new Metadata();
  if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
  for (const [name, value] of Object.entries({ ...carrier, ...headers })) metadata.set(name, value);
  return metadata;
}

function reportHeaders(received: Metadata, { onHeaders }: Attempt): void {
  onHeaders?.(Object.fromEntries(Object.entries(received.getMap()).map(([name, value]) => [name, value.toString()])));
}

/** What grpc-js wants of either kind of request. */
const requestOf = ({ method, bytes, deadline }: Attempt, metadata: Metadata) =>
  [pathOf(method), asBuffer, (answer: Buffer): Message => fromBinary(method.output, answer), bytes, metadata, { deadline }] as const;

export async function sendUnary(client: Client, attempt: Attempt): Promise<Message> {
  const { signal } = attempt;
  const { promise, resolve, reject } = Promise.withResolvers<Message>();
  const call = client.makeUnaryRequest(...requestOf(attempt, await metadataOf(attempt)), (error, response) => {
    signal?.removeEventListener('abort', abort);
    if (error === null && response !== undefined) resolve(response);
    else reject(signal?.aborted ? canceledError(signal) : toMessagingError(error));
  });
  const abort = () => call.cancel();
  signal?.addEventListener('abort', abort, { once: true });
  call.on('metadata', (received) => reportHeaders(received, attempt));
  return promise;
}

export async function* openStream(client: Client, attempt: Attempt): AsyncGenerator<Message, void, undefined> {
  const { signal } = attempt;
  const call = client.makeServerStreamRequest(...requestOf(attempt, await metadataOf(attempt)));
  // Also after the loop is left: cancelling emits an error that nobody iterates over any more.
  call.on('error', () => {});
  call.on('metadata', (received) => reportHeaders(received, attempt));
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
