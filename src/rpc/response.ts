/** What the transport writes last: the status of a call, in the three protocols the port speaks. */
import type { Http2ServerRequest, Http2ServerResponse, OutgoingHttpHeaders } from 'node:http2';
import type { Code, ConnectError } from '@connectrpc/connect';
import { codeToHttpStatus, errorToJson } from '@connectrpc/connect/protocol-connect';
import { findTrailerError, setTrailerStatus } from '@connectrpc/connect/protocol-grpc';
import { callOf } from './call.ts';
import { withReason } from './errors.ts';

const GRPC_STATUS = 'grpc-status';
const GRPC_MESSAGE = 'grpc-message';
const GRPC_DETAILS = 'grpc-status-details-bin';

export function isGrpc(request: Http2ServerRequest): boolean {
  return request.headers['content-type']?.startsWith('application/grpc') === true;
}

/** As the gRPC specification asks: only bytes outside printable ASCII, and the percent sign, are escaped. */
function encodeGrpcMessage(text: string): string {
  return [...Buffer.from(text, 'utf8')]
    .map((byte) =>
      byte < 0x20 || byte > 0x7e || byte === 0x25 ? `%${byte.toString(16).toUpperCase().padStart(2, '0')}` : String.fromCharCode(byte),
    )
    .join('');
}

function statusHeaders(error: ConnectError): OutgoingHttpHeaders {
  const headers: OutgoingHttpHeaders = Object.fromEntries(setTrailerStatus(new Headers(), error));
  return { ...headers, [GRPC_MESSAGE]: encodeGrpcMessage(error.rawMessage) };
}

/** Trailers as callers should get them: a readable message, and details also for errors that no handler saw. */
function repaired(headers: OutgoingHttpHeaders): OutgoingHttpHeaders {
  if (headers[GRPC_STATUS] === undefined || headers[GRPC_STATUS] === '0') return headers;
  const fields = Object.entries(headers).map(([name, value]): [string, string] => [name, String(value)]);
  const error = findTrailerError(new Headers(fields));
  if (error === undefined) return headers;
  if (headers[GRPC_DETAILS] === undefined) return { ...headers, ...statusHeaders(withReason(error.code, error.rawMessage)) };
  return { ...headers, [GRPC_MESSAGE]: encodeGrpcMessage(error.rawMessage) };
}

/** Repairs the status that the transport writes and reports its number (0 is OK) when it is written. */
export function watchStatus(response: Http2ServerResponse, onStatus: (status: number) => void): void {
  const see = (headers: OutgoingHttpHeaders): OutgoingHttpHeaders => {
    const status = headers[GRPC_STATUS];
    if (status !== undefined) onStatus(Number(status));
    return repaired(headers);
  };
  const writeHead = response.writeHead.bind(response);
  const addTrailers = response.addTrailers.bind(response);
  Object.assign(response, {
    writeHead: (status: number, headers: OutgoingHttpHeaders = {}) => writeHead(status, see(headers)),
    addTrailers: (headers: OutgoingHttpHeaders) => addTrailers(see(headers)),
  });
}

/** Ends a call that has no answer yet, whatever its handler is doing; what the handler writes later goes nowhere. */
export function endWithError(request: Http2ServerRequest, response: Http2ServerResponse, error: ConnectError): void {
  const { stream } = response;
  if (stream.headersSent || stream.destroyed) return;
  const call = callOf(request);
  if (call !== undefined) call.endedWith = error.code;
  if (isGrpc(request)) {
    const contentType = request.headers['content-type'] ?? 'application/grpc';
    stream.respond({ ':status': 200, 'content-type': contentType, ...statusHeaders(error) }, { endStream: true });
  } else {
    stream.respond({ ':status': codeToHttpStatus(error.code as Code), 'content-type': 'application/json' });
    stream.end(JSON.stringify(errorToJson(error, undefined)));
  }
  // The caller may still be sending a body that nobody will read.
  if (!request.complete) stream.close();
}
