/** Puts what the contract promises on the status of every answer, also of those that the transport gives by itself. */
import type { ConnectError } from '@connectrpc/connect';
import { compressedFlag, createAsyncIterable, readAllBytes, type UniversalServerResponse } from '@connectrpc/connect/protocol';
import { codeToHttpStatus, endStreamFlag, endStreamFromJson, errorFromJsonBytes } from '@connectrpc/connect/protocol-connect';
import { findTrailerError } from '@connectrpc/connect/protocol-grpc';
import { trailerFlag, trailerParse } from '@connectrpc/connect/protocol-grpc-web';
import { errorWith } from './errors.ts';
import { endOfStreamFrame, errorBody, type Protocol, setGrpcStatus, webTrailerFrame } from './wire-status.ts';

export interface Ending {
  /** Learns how the answer ends, undefined for OK, and returns the error that the caller gets. */
  settle(error: ConnectError | undefined): ConnectError | undefined;
  /** Learns that it ends as its handler decided: the error is compressed, so it is long, so it has its details. */
  settleUnseen(): void;
}

const ENVELOPE_BYTES = 5;
const NO_BODY: AsyncIterable<Uint8Array> = createAsyncIterable([]);

/** The transport hands over one frame at a time, and asks for the next one when it is written. */
function framesOf(
  body: AsyncIterable<Uint8Array>,
  frame: (bytes: Uint8Array) => Uint8Array,
  onEnd: () => void = () => undefined,
): AsyncIterable<Uint8Array> {
  const inner = body[Symbol.asyncIterator]();
  const iterator: AsyncIterator<Uint8Array> = {
    async next() {
      const next = await inner.next();
      if (next.done !== true) return { done: false, value: frame(next.value) };
      onEnd();
      return next;
    },
    throw: (error) => inner.throw?.(error) ?? Promise.reject(error),
    return: (value) => inner.return?.(value) ?? Promise.resolve({ done: true, value }),
  };
  return { [Symbol.asyncIterator]: () => iterator };
}

function setGrpcEnding(trailers: Headers, ending: Ending): Headers {
  const error = ending.settle(findTrailerError(trailers));
  return error === undefined ? trailers : setGrpcStatus(trailers, error);
}

/** Whether a frame says how the stream ends, in a way that can be read. */
function isEnding([flags = 0]: Uint8Array, flag: number, ending: Ending): boolean {
  if ((flags & flag) === 0) return false;
  if ((flags & compressedFlag) === 0) return true;
  ending.settleUnseen();
  return false;
}

function webEnding(frame: Uint8Array, ending: Ending): Uint8Array {
  if (!isEnding(frame, trailerFlag, ending)) return frame;
  return webTrailerFrame(setGrpcEnding(trailerParse(frame.subarray(ENVELOPE_BYTES)), ending));
}

function streamEnding(frame: Uint8Array, ending: Ending): Uint8Array {
  if (!isEnding(frame, endStreamFlag, ending)) return frame;
  const { metadata, error } = endStreamFromJson(frame.subarray(ENVELOPE_BYTES));
  const told = ending.settle(error);
  return told === undefined ? frame : endOfStreamFrame(metadata, told);
}

/** What the transport answers to with nothing but an HTTP status. */
function refusal(status: number): ConnectError {
  if (status === 415) return errorWith('request_malformed', 'the content-type is none that this method takes');
  if (status === 405) return errorWith('request_malformed', 'the HTTP method is none that this method takes; use POST');
  return errorWith('request_malformed', `refused with HTTP status ${status}`);
}

async function unaryEnding({ status, header, body }: UniversalServerResponse, ending: Ending): Promise<UniversalServerResponse> {
  const headers = new Headers(header);
  const bytes = await readAllBytes(body ?? NO_BODY, Number.MAX_SAFE_INTEGER);
  let answer: Uint8Array = bytes;
  let httpStatus = status;
  if (status === 200) ending.settle(undefined);
  else if (headers.has('content-encoding')) ending.settleUnseen();
  else {
    const error = bytes.length === 0 ? refusal(status) : errorFromJsonBytes(bytes, undefined, errorWith('internal', 'internal error'));
    const told = ending.settle(error) ?? error;
    answer = errorBody(told);
    // Its code may have become another one.
    if (bytes.length > 0) httpStatus = codeToHttpStatus(told.code);
    headers.set('content-type', 'application/json');
    headers.set('content-length', String(answer.byteLength));
  }
  return { status: httpStatus, header: headers, body: createAsyncIterable([answer]) };
}

/** gRPC has its status in the headers when there is nothing else. */
function grpcRefusal(status: number, ending: Ending): UniversalServerResponse {
  const error = refusal(status);
  const header = new Headers({ 'content-type': 'application/grpc' });
  return { status: 200, header: setGrpcStatus(header, ending.settle(error) ?? error) };
}

/** The same answer, whose status has gone through `ending`. */
export async function withEnding(answer: UniversalServerResponse, protocol: Protocol, ending: Ending): Promise<UniversalServerResponse> {
  const { body = NO_BODY, trailer = new Headers() } = answer;
  switch (protocol) {
    case 'grpc':
      if (answer.status !== 200) return grpcRefusal(answer.status, ending);
      return {
        ...answer,
        trailer,
        body: framesOf(
          body,
          (frame) => frame,
          () => setGrpcEnding(trailer, ending),
        ),
      };
    case 'grpc-web':
      if (answer.status !== 200) return grpcRefusal(answer.status, ending);
      return { ...answer, body: framesOf(body, (frame) => webEnding(frame, ending)) };
    case 'connect-stream':
      if (answer.status !== 200) return unaryEnding(answer, ending);
      return { ...answer, body: framesOf(body, (frame) => streamEnding(frame, ending)) };
    case 'connect':
      return unaryEnding(answer, ending);
  }
}
