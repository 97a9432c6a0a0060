/** Ends a call from outside its handler: refused, late, or cut off. */
import { constants, type Http2Session, type ServerHttp2Stream } from 'node:http2';
import type { ConnectError } from '@connectrpc/connect';
import { codeToHttpStatus, contentTypeStreamJson, contentTypeStreamProto } from '@connectrpc/connect/protocol-connect';
import type { Call } from './call.ts';
import { endOfStreamFrame, errorBody, setGrpcStatus, webTrailerFrame } from './wire-status.ts';

/** Between two looks whether the answers of a connection are written; they are, as soon as what came before them is. */
const WRITTEN_LOOK_MS = 10;
/** Whoever has taken nothing for so long does without the answer. */
const WRITTEN_LOOKS = 100;

/** Streams that have been answered and are to be reset. */
const answered = new WeakMap<Http2Session, ServerHttp2Stream[]>();

/**
 * nghttp2 drops what is queued of a stream once that is to be reset, so its answer has to be out before. It mostly is at the first look; over
 * TLS, or when the peer reads slowly, another write may be under way.
 */
function resetWhenWritten(session: Http2Session, looks: number): void {
  if (!session.destroyed && session.state.outboundQueueSize !== 0 && looks > 0) {
    setTimeout(resetWhenWritten, WRITTEN_LOOK_MS, session, looks - 1);
    return;
  }
  const streams = answered.get(session) ?? [];
  answered.delete(session);
  for (const stream of streams) if (!stream.destroyed) stream.close(constants.NGHTTP2_NO_ERROR);
}

/** The caller may still be sending a body that nobody will read: tells it to stop, after the answer. */
export function stopReading(stream: ServerHttp2Stream): void {
  const { session } = stream;
  if (stream.readableEnded || stream.destroyed || session === undefined) return;
  // What has arrived already is dropped: with unread data a stream never ends, and its connection neither.
  stream.removeAllListeners('data').resume();
  const others = answered.get(session);
  others?.push(stream);
  if (others !== undefined) return;
  answered.set(session, [stream]);
  setImmediate(resetWhenWritten, session, WRITTEN_LOOKS);
}

/** An answer that consists of nothing but the error. */
function answer({ stream, headers, protocol }: Call, error: ConnectError): void {
  const contentType = headers['content-type'] ?? '';
  switch (protocol) {
    case 'grpc':
    case 'grpc-web': {
      const status = Object.fromEntries(setGrpcStatus(new Headers(), error));
      stream.respond({ ':status': 200, 'content-type': contentType, ...status }, { endStream: true });
      return;
    }
    case 'connect-stream': {
      const known = contentType.endsWith('proto') ? contentTypeStreamProto : contentTypeStreamJson;
      stream.respond({ ':status': 200, 'content-type': known });
      stream.end(endOfStreamFrame(new Headers(), error));
      return;
    }
    case 'connect':
      stream.respond({ ':status': codeToHttpStatus(error.code), 'content-type': 'application/json' });
      stream.end(errorBody(error));
  }
}

/** The end of a stream of which the caller has had the beginning. */
function endStream(call: Call, error: ConnectError): void {
  const { stream, protocol, response } = call;
  switch (protocol) {
    case 'grpc': {
      const trailers = Object.fromEntries(setGrpcStatus(new Headers(), error));
      if (response === undefined) {
        // The lean lane sends them when all before them has been taken.
        call.ending = { outcome: error.code, trailers };
        if (!stream.writableEnded) stream.end();
        return;
      }
      response.addTrailers(trailers);
      response.end();
      return;
    }
    case 'grpc-web':
      response?.end(webTrailerFrame(setGrpcStatus(new Headers(), error)));
      return;
    case 'connect-stream':
      response?.end(endOfStreamFrame(new Headers(), error));
      return;
    case 'connect':
      stream.close(constants.NGHTTP2_CANCEL);
  }
}

/** Tells the caller of `error`, whatever its handler is doing, unless it was told how the call ended; what is written later goes nowhere. */
export function endWithError(call: Call, error: ConnectError): void {
  const { stream } = call;
  if (stream.destroyed || stream.closed || call.told !== undefined) return;
  call.told = error.code;
  // A stream has its trailers yet to come; answerByConnect stops the reading after them.
  if (stream.headersSent) {
    endStream(call, error);
    return;
  }
  answer(call, error);
  stopReading(stream);
}
