/** What is known of one call at its HTTP/2 stream, shared by both lanes and, through Connect's context values, with the handlers. */
import type { Http2ServerResponse, IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { Message } from '@bufbuild/protobuf';
import { Code, createContextKey, type HandlerContext } from '@connectrpc/connect';
import type { Read } from '../domain/ports.ts';
import { type ServerSpan, startServerSpan } from '../telemetry/trace.ts';
import type { Connection } from './connection.ts';
import type { Endpoint, LeanMethod } from './endpoint.ts';
import { type Protocol, protocolOf } from './wire-status.ts';

/**
 * Where a stream keeps its call, so that its listeners need no closures. Let go of when it closes: V8 keeps closed streams until the next
 * full collection, with everything that can be reached from them.
 */
export const CALL = Symbol('call');

export interface CalledStream extends ServerHttp2Stream {
  [CALL]?: Call | undefined;
}

export interface LeanRequest {
  readonly message: Message;
  /** To remember it by; undefined when it is not to be. */
  readonly bytes: string | undefined;
  /** It was found by them. */
  readonly isChecked: boolean;
}

/** What has arrived of a request that the lean lane reads. */
export interface LeanBody {
  readonly method: LeanMethod;
  readonly chunks: Buffer[];
  bytes: number;
  /** As its frame says; 0: it is none that is plain. */
  wanted: number;
  /** Once its frame is there. */
  request: LeanRequest | undefined;
}

/** How a call of the lean lane ends, and how its caller is told. */
export interface LeanEnding {
  readonly outcome: Code | 'OK';
  readonly trailers: OutgoingHttpHeaders;
}

export interface Call {
  readonly stream: CalledStream;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly protocol: Protocol;
  readonly endpoint: Endpoint;
  readonly connection: Connection;
  /** Everything that is done for the call runs in it; the stream's own events come from outside. */
  readonly span: ServerSpan;
  /** Who calls, once that is known. */
  caller: string;
  /** When its credentials expire, of a stream; on the clock of performance.now(). */
  knownUntilMs: number;
  /** The code that the handler or a step before it decided on; undefined when the call did not get that far. */
  code: Code | 'OK' | undefined;
  /** How the caller was told that the call ended, whatever the handler still does; undefined until then. */
  told: Code | 'OK' | undefined;
  /** Headers of the answer that its handler asked for: name, value, name, value. */
  metadata: readonly string[] | undefined;
  /** Writes the answer when Connect does; undefined on the lean lane, where an answer is written in one go. */
  response: Http2ServerResponse | undefined;
  /** While the lean lane reads it. */
  body: LeanBody | undefined;
  /** What the lean lane tells the caller once all of the answer before it has been taken; undefined while there is no answer. */
  ending: LeanEnding | undefined;
  /** On the clock of performance.now(). */
  readonly openedMs: number;
  /** The same moment on the patient clock, which stands still while the process is held up. */
  readonly patientMs: number;
  /** The deadline that the caller asked for. */
  timeoutMs: number | undefined;
  /** How long the call may take, by whatever deadline it has. */
  allowedMs: number;
  /** Until a near deadline, or until the last words have to be read; cleared when the stream closes. */
  timer: NodeJS.Timeout | undefined;
  /** How long its request may take to arrive. */
  requestMs: number;
}

/** Where callers are not authenticated all are one. */
const ANONYMOUS = 'anonymous';

export const callKey = createContextKey<Call | undefined>(undefined);

/** What is known of a call from its headers. */
export type OpenedCall = Pick<Call, 'stream' | 'headers' | 'rawHeaders' | 'endpoint' | 'connection' | 'openedMs' | 'patientMs'>;

export function openCall({ stream, headers, rawHeaders, endpoint, connection, openedMs, patientMs }: OpenedCall): Call {
  const protocol = protocolOf(headers['content-type']);
  const call: Call = {
    stream,
    headers,
    rawHeaders,
    protocol,
    endpoint,
    connection,
    span: startServerSpan({ headers, system: systemOf(protocol), method: endpoint.name }),
    caller: ANONYMOUS,
    knownUntilMs: Number.POSITIVE_INFINITY,
    code: undefined,
    told: undefined,
    metadata: undefined,
    response: undefined,
    body: undefined,
    ending: undefined,
    openedMs,
    patientMs,
    timeoutMs: undefined,
    allowedMs: Number.POSITIVE_INFINITY,
    timer: undefined,
    requestMs: Number.POSITIVE_INFINITY,
  };
  stream[CALL] = call;
  return call;
}

/** As the semantic conventions name them. */
export function systemOf(protocol: Protocol): 'grpc' | 'connectrpc' {
  return protocol === 'grpc' || protocol === 'grpc-web' ? 'grpc' : 'connectrpc';
}

/** The lean lane's contexts know their call without a look into the context values. */
export interface OwnContext {
  readonly call: Call;
}

function callOf(context: HandlerContext | (HandlerContext & OwnContext)): Call | undefined {
  return 'call' in context ? context.call : context.values.get(callKey);
}

export function callerOf(context: HandlerContext): string {
  return callOf(context)?.caller ?? ANONYMOUS;
}

/** Tells the caller where the answer came from, and how long ago it was known to be current. */
export function tellSource(context: HandlerContext, { source, ageMs }: Pick<Read<unknown>, 'source' | 'ageMs'>): void {
  const call = callOf(context);
  if (call !== undefined) call.metadata = ['x-cache', source, 'x-cache-age-ms', String(Math.ceil(ageMs))];
}

const CODE_NAMES = new Map<number, string>(
  Object.entries(Code).flatMap(([name, code]) =>
    typeof code === 'number' ? [[code, name.replace(/(?<=[a-z])[A-Z]/g, '_$&').toUpperCase()] as const] : [],
  ),
);

/** `NOT_FOUND` for Code.NotFound; gRPC spells CANCELLED with two L. */
export function codeName(code: Code | 'OK'): string {
  if (code === 'OK') return code;
  return code === Code.Canceled ? 'CANCELLED' : (CODE_NAMES.get(code) ?? 'UNKNOWN');
}
