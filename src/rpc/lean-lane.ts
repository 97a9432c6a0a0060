/**
 * The lane for plain gRPC calls with one request: the same handlers and steps as Connect's, without its pipeline of async iterators, which
 * costs several times what the call itself does, and of a stream 40 KB for as long as it is open. What is not plain and well formed goes
 * to Connect, before a handler has seen it.
 */
import { constants, type IncomingHttpHeaders, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { DescMethod } from '@bufbuild/protobuf';
import { ConnectError } from '@connectrpc/connect';
import { type Compression, compressionNegotiate } from '@connectrpc/connect/protocol';
import type { Log } from '../telemetry/log.ts';
import { CALL, type Call, type CalledStream, type LeanBody, type LeanEnding, type LeanRequest } from './call.ts';
import { FRAME_HEAD_BYTES, frameOf } from './encode-answer.ts';
import { fullName, type LeanMethod } from './endpoint.ts';
import { errorWith } from './errors.ts';
import { LeanContext } from './lean-context.ts';
import { bodyOf, frameBytes, receive } from './lean-request.ts';
import { endWithError, stopReading } from './response.ts';
import type { CallSteps } from './steps.ts';
import { setGrpcStatus } from './wire-status.ts';

const CONTENT_TYPE = 'application/grpc+proto';

export interface LeanLimits {
  readonly maxRequestBytes: number;
  readonly maxResponseBytes: number;
  readonly acceptCompression: readonly Compression[];
  readonly compressMinBytes: number;
}

export interface LeanLaneParts {
  readonly steps: CallSteps;
  readonly handOver: HandOver;
  readonly log: Log;
}

export interface LeanLane {
  /** Ends the call, or hands it over; never throws. `flags`: of the frame that its headers came in. */
  take(call: Call, method: LeanMethod, flags: number): void;
}

/** Takes over a call whose body turned out not to be plain: what has arrived of it, and the rest. */
export type HandOver = (call: Call, body: AsyncIterable<Uint8Array>) => void;

const MAX_REMEMBERED = 64;

/** Remembers what was made of the first few texts; callers send the same ones again and again. */
function remembered<Value>(make: (text: string) => Value): (text: string) => Value {
  const made = new Map<string, Value>();
  return (text) => {
    const known = made.get(text);
    if (known !== undefined) return known;
    const value = make(text);
    if (made.size < MAX_REMEMBERED) made.set(text, value);
    return value;
  };
}

const isHost = remembered((authority) => URL.canParse(`http://${authority}`));

/** Whether a request looks like one for the lean lane; its body may still turn out not to be. */
export function isLean(headers: IncomingHttpHeaders): boolean {
  const { 'content-type': type, 'grpc-encoding': encoding, ':authority': authority } = headers;
  return (
    (type === 'application/grpc' || type === CONTENT_TYPE) &&
    headers[':method'] === 'POST' &&
    typeof authority === 'string' &&
    isHost(authority) &&
    (encoding === undefined || encoding === 'identity') &&
    headers['expect'] === undefined
  );
}

const WITH_TRAILERS = { waitForTrailers: true };
const OK: LeanEnding = { outcome: 'OK', trailers: { 'grpc-status': '0' } };

/** As Node wants them; only cookies may not be joined. */
function fieldsOf(headers: Headers): OutgoingHttpHeaders {
  const fields: OutgoingHttpHeaders = Object.fromEntries(headers);
  if (headers.has('set-cookie')) fields['set-cookie'] = headers.getSetCookie();
  return fields;
}

/** Only now the caller is told: it may not have taken the answer before. */
function onWantTrailers(this: CalledStream): void {
  const call = this[CALL];
  if (call?.ending === undefined) return;
  call.told = call.ending.outcome;
  this.sendTrailers(call.ending.trailers);
  // It was refused before all of it came.
  if (!this.readableEnded) setImmediate(stopReading, this);
}

/** Resolves when there is room for more, or nobody left to write to. */
function drained(stream: ServerHttp2Stream): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const settle = (): void => {
    stream.off('drain', settle).off('close', settle);
    resolve();
  };
  stream.on('drain', settle).on('close', settle);
  return promise;
}

export function createLeanLane(limits: LeanLimits, { steps, handOver, log }: LeanLaneParts): LeanLane {
  const { maxRequestBytes, maxResponseBytes, acceptCompression, compressMinBytes } = limits;
  const negotiate = remembered((accepted) => compressionNegotiate([...acceptCompression], null, accepted, 'grpc-accept-encoding').response);

  function compressionFor({ headers }: Call): Compression | undefined {
    const accepted = headers['grpc-accept-encoding'];
    return accepted === undefined ? undefined : (negotiate(String(accepted)) ?? undefined);
  }

  /** Writes the headers of an answer. */
  function open(call: Call, { askedHeader }: LeanContext, compression: Compression | undefined): void {
    // As a list Node takes them as they are, and need not copy them.
    const headers = [':status', '200', 'content-type', CONTENT_TYPE];
    if (askedHeader !== undefined) for (const [name, value] of askedHeader) if (name !== 'content-type') headers.push(name, value);
    if (compression !== undefined) headers.push('grpc-encoding', compression.name);
    if (call.metadata !== undefined && call.code === 'OK') headers.push(...call.metadata);
    call.stream.on('wantTrailers', onWantTrailers).respond(headers, WITH_TRAILERS);
  }

  const isOver = ({ told, stream }: Call): boolean => told !== undefined || stream.destroyed;

  /** Writes what is left of an answer: its headers unless they are sent, the last frame, and how it ends. */
  function end(
    call: Call,
    context: LeanContext,
    compression: Compression | undefined,
    { error, frame }: { readonly error?: ConnectError | undefined; readonly frame?: Buffer },
  ): void {
    const { askedTrailer: trailer } = context;
    if (error !== undefined) call.ending = { outcome: error.code, trailers: fieldsOf(setGrpcStatus(new Headers(trailer), error)) };
    else call.ending = trailer === undefined ? OK : { outcome: 'OK', trailers: { ...fieldsOf(trailer), ...OK.trailers } };
    if (!call.stream.headersSent) open(call, context, compression);
    call.stream.end(frame);
  }

  function encodeAnswer({ desc, encode }: LeanMethod, answer: unknown): Buffer | ConnectError {
    try {
      const frame = encode(answer as never);
      if (frame.byteLength - FRAME_HEAD_BYTES <= maxResponseBytes) return frame;
      return errorWith('message_too_large', `the response is larger than ${maxResponseBytes} bytes`);
    } catch (error) {
      log.error({ rpc: fullName(desc), err: error }, 'an answer could not be written by a bug');
      return errorWith('internal', 'internal error');
    }
  }

  /** Throws for a request that breaks a rule. */
  function check({ desc, checked }: LeanMethod, { message, bytes, isChecked }: LeanRequest): void {
    if (isChecked) return;
    steps.check(desc.input, message);
    if (bytes !== undefined) checked?.remember(bytes, message);
  }

  function isCompressed(frame: Buffer, compression: Compression | undefined): compression is Compression {
    return compression !== undefined && frame.byteLength - FRAME_HEAD_BYTES >= compressMinBytes;
  }

  function reportUnwritten(call: Call, desc: DescMethod, error: unknown): void {
    log.warn({ rpc: fullName(desc), err: error }, 'an answer could not be written');
    endWithError(call, errorWith('internal', 'internal error'));
  }

  async function run(call: Call, method: LeanMethod, request: LeanRequest): Promise<void> {
    const { desc, handle } = method;
    const context = new LeanContext(call, desc);
    let outcome: unknown;
    try {
      check(method, request);
      outcome = await handle(request.message as never, context);
      call.code = 'OK';
    } catch (error) {
      outcome = steps.failureOf(error, desc, call, context.usedSignal);
    }
    try {
      const encoded = outcome instanceof ConnectError ? outcome : encodeAnswer(method, outcome);
      const compression = compressionFor(call);
      const isPlainFrame = encoded instanceof ConnectError || !isCompressed(encoded, compression);
      const frame = isPlainFrame ? encoded : frameOf(await compression.compress(encoded.subarray(FRAME_HEAD_BYTES)), 1);
      if (isOver(call)) return;
      end(call, context, compression, frame instanceof ConnectError ? { error: frame } : { frame });
    } catch (error) {
      reportUnwritten(call, desc, error);
    }
  }

  /** Asks the handler for the next item when the caller has room for it. */
  async function runStream(call: Call, method: LeanMethod, request: LeanRequest): Promise<void> {
    const { desc, handle } = method;
    const context = new LeanContext(call, desc);
    const compression = compressionFor(call);
    let failure: ConnectError | undefined;
    try {
      check(method, request);
      for await (const item of handle(request.message as never, context) as AsyncIterable<unknown>) {
        call.code = 'OK';
        const encoded = encodeAnswer(method, item);
        if (encoded instanceof ConnectError) {
          failure = encoded;
          break;
        }
        const frame = isCompressed(encoded, compression)
          ? frameOf(await compression.compress(encoded.subarray(FRAME_HEAD_BYTES)), 1)
          : encoded;
        if (isOver(call)) return;
        if (!call.stream.headersSent) open(call, context, compression);
        if (!call.stream.write(frame)) await drained(call.stream);
        if (isOver(call)) return;
      }
      call.code ??= 'OK';
    } catch (error) {
      failure = steps.failureOf(error, desc, call, context.usedSignal);
    }
    try {
      if (!isOver(call)) end(call, context, compression, { error: failure });
    } catch (error) {
      reportUnwritten(call, desc, error);
    }
  }

  /** As Connect would, but for much less: such requests come in numbers from those who mean no call. */
  function refuse(call: Call, { desc }: LeanMethod, reason: 'message_too_large' | 'request_malformed', text: string): void {
    call.body = undefined;
    end(call, new LeanContext(call, desc), compressionFor(call), { error: errorWith(reason, text) });
  }

  function refuseEmpty(call: Call, method: LeanMethod): void {
    const kind = method.desc.methodKind.replace('_', '-');
    refuse(call, method, 'request_malformed', `protocol error: missing input message for ${kind} method`);
  }

  /** Whether a body is a plain request so far. */
  function isPlain(body: LeanBody): boolean {
    const { method, chunks, bytes, wanted } = body;
    if (bytes > wanted) return false;
    if (bytes < wanted) return true;
    const whole = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
    body.request = receive(method, whole.subarray(FRAME_HEAD_BYTES));
    return body.request !== undefined;
  }

  function onData(this: CalledStream, chunk: Buffer): void {
    const call = this[CALL];
    const body = call?.body;
    if (call === undefined || body === undefined) return;
    if (body.bytes === 0) body.wanted = frameBytes(chunk) ?? 0;
    if (body.wanted > maxRequestBytes + FRAME_HEAD_BYTES) {
      refuse(call, body.method, 'message_too_large', `the request is larger than ${maxRequestBytes} bytes`);
      return;
    }
    body.chunks.push(chunk);
    body.bytes += chunk.byteLength;
    // Its caller may wait for the refusal of what is none before it ends the request.
    if (isPlain(body)) return;
    this.pause().off('data', onData).off('end', onEnd);
    call.body = undefined;
    handOver(call, bodyOf(body.chunks, this));
  }

  function onEnd(this: CalledStream): void {
    const call = this[CALL];
    const body = call?.body;
    // Its caller went away, its time was up before, or the server stops.
    if (call === undefined || body === undefined || this.aborted || call.told !== undefined) return;
    call.body = undefined;
    const { method, chunks, request } = body;
    if (chunks.length === 0) refuseEmpty(call, method);
    else if (request === undefined) handOver(call, bodyOf(chunks, this));
    // The stream's events come from outside of any call.
    else call.span.run(() => void (method.desc.methodKind === 'unary' ? run : runStream)(call, method, request));
  }

  return {
    take(call, method, flags) {
      if ((flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0) {
        refuseEmpty(call, method);
        return;
      }
      call.body = { method, chunks: [], bytes: 0, wanted: 0, request: undefined };
      call.stream.on('data', onData).on('end', onEnd);
    },
  };
}
