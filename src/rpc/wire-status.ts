/** How the status of a call is spelled in the protocols that the port speaks. */
import type { ConnectError } from '@connectrpc/connect';
import { encodeEnvelope } from '@connectrpc/connect/protocol';
import { endStreamFlag, endStreamToJson, errorToJsonBytes } from '@connectrpc/connect/protocol-connect';
import { setTrailerStatus } from '@connectrpc/connect/protocol-grpc';
import { trailerFlag, trailerSerialize } from '@connectrpc/connect/protocol-grpc-web';

/** Connect writes the answer of a unary call bare, and that of a stream in frames. */
export type Protocol = 'grpc' | 'grpc-web' | 'connect' | 'connect-stream';

export function protocolOf(contentType: string | undefined): Protocol {
  const type = contentType?.toLowerCase() ?? '';
  if (type.startsWith('application/grpc-web')) return 'grpc-web';
  if (type.startsWith('application/grpc')) return 'grpc';
  return type.startsWith('application/connect') ? 'connect-stream' : 'connect';
}

/** As the gRPC specification asks: only bytes outside printable ASCII, and the percent sign, are escaped. */
function encodeGrpcMessage(text: string): string {
  return [...Buffer.from(text, 'utf8')]
    .map((byte) =>
      byte < 0x20 || byte > 0x7e || byte === 0x25 ? `%${byte.toString(16).toUpperCase().padStart(2, '0')}` : String.fromCharCode(byte),
    )
    .join('');
}

/** Makes `target`, trailers or the headers of an answer without a body, tell of `error`; what else is in it stays. */
export function setGrpcStatus(target: Headers, error: ConnectError): Headers {
  setTrailerStatus(target, error);
  target.set('grpc-message', encodeGrpcMessage(error.rawMessage));
  return target;
}

/** The last frame of a gRPC-Web answer. */
export function webTrailerFrame(trailers: Headers): Uint8Array {
  return encodeEnvelope(trailerFlag, trailerSerialize(trailers));
}

/** The last frame of a Connect stream. */
export function endOfStreamFrame(metadata: Headers, error: ConnectError | undefined): Uint8Array {
  return encodeEnvelope(endStreamFlag, Buffer.from(JSON.stringify(endStreamToJson(metadata, error, undefined))));
}

/** The body of a failed unary Connect call. */
export function errorBody(error: ConnectError): Uint8Array {
  return errorToJsonBytes(error, undefined);
}
