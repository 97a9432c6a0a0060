/** Requests that no client library would send, byte by byte over HTTP/2. */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
  type OutgoingHttpHeaders,
  type SecureClientSessionOptions,
} from 'node:http2';
import { ConnectError } from '@connectrpc/connect';
import { endStreamFromJson, errorFromJsonBytes } from '@connectrpc/connect/protocol-connect';
import { findTrailerError } from '@connectrpc/connect/protocol-grpc';
import { trailerParse } from '@connectrpc/connect/protocol-grpc-web';
import { describeFailure, type Failure } from './protocols.ts';

export interface RawRequest {
  readonly path: string;
  readonly headers?: OutgoingHttpHeaders;
  /** Several: each is sent in a DATA frame of its own. */
  readonly body?: Uint8Array | readonly Uint8Array[];
  /** The request ends with its headers, before any DATA. */
  readonly headersOnly?: boolean;
  /** Sent after the body. */
  readonly trailers?: OutgoingHttpHeaders;
  /** The request stays open: its end never comes. */
  readonly endless?: boolean;
  /** Nothing of the answer's body is read until `read` is called. */
  readonly unread?: boolean;
}

export interface RawResponse {
  readonly status: number | undefined;
  /** Before it: 100 Continue and the like. */
  readonly interim: readonly (number | undefined)[];
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** HTTP/2 error code of the stream; 0 when it ended in order. */
  readonly rstCode: number;
}

export interface RawCall {
  /** Never rejects: a stream that is cut off has a `rstCode`. */
  readonly ended: Promise<RawResponse>;
  /** Resolves with the first bytes of the answer's body. */
  readonly answering: Promise<void>;
  /** Reads the answer of a request that was `unread`. */
  read(): void;
  /** Resets the stream, with CANCEL unless told otherwise. */
  cancel(code?: number): void;
  write(bytes: Uint8Array): void;
}

export interface RawClient extends AsyncDisposable {
  readonly session: ClientHttp2Session;
  open(request: RawRequest): RawCall;
  /** Never rejects: a stream that is cut off has a `rstCode`. */
  call(request: RawRequest): Promise<RawResponse>;
}

/** Node puts what waits to be written together, so that each part is written when the one before it is gone. */
function send(stream: ClientHttp2Stream, [part, ...rest]: readonly Uint8Array[], endless: boolean): void {
  if (part !== undefined && rest.length > 0) stream.write(part, (error) => error ?? send(stream, rest, endless));
  else {
    if (part !== undefined) stream.write(part);
    if (!endless) stream.end();
  }
}

export async function connectRaw(url: string, options: SecureClientSessionOptions = {}): Promise<RawClient> {
  const session = connect(url, options);
  await new Promise<void>((resolve, reject) => {
    session.once('connect', () => resolve());
    session.once('error', reject);
  });
  session.on('error', () => undefined);
  const open = (request: RawRequest): RawCall => {
    const { path, headers, body = [], headersOnly = false, trailers: sent, endless = false, unread = false } = request;
    const ended = Promise.withResolvers<RawResponse>();
    const answering = Promise.withResolvers<void>();
    const stream = session.request(
      { ':method': 'POST', ':path': path, ...headers },
      { endStream: headersOnly, waitForTrailers: sent !== undefined },
    );
    if (sent !== undefined) stream.once('wantTrailers', () => stream.sendTrailers(sent));
    const chunks: Buffer[] = [];
    let answer: IncomingHttpHeaders & IncomingHttpStatusHeader = {};
    let trailers: IncomingHttpHeaders = {};
    const interim: (number | undefined)[] = [];
    stream.on('headers', (received: IncomingHttpStatusHeader) => interim.push(received[':status']));
    stream.on('response', (received) => {
      answer = received;
    });
    stream.on('trailers', (received) => {
      trailers = received;
    });
    const read = (): void => {
      stream.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        answering.resolve();
      });
    };
    if (!unread) read();
    stream.on('error', () => undefined);
    stream.on('close', () => {
      const [status, rstCode] = [answer[':status'], stream.rstCode ?? 0];
      ended.resolve({ status, interim, headers: answer, trailers, body: Buffer.concat(chunks), rstCode });
    });
    if (!headersOnly) send(stream, body instanceof Uint8Array ? [body] : body, endless);
    return {
      ended: ended.promise,
      answering: answering.promise,
      read,
      cancel: (code = constants.NGHTTP2_CANCEL) => stream.close(code),
      write: (bytes) => stream.write(bytes),
    };
  };
  return {
    session,
    open,
    call: (request) => open(request).ended,
    async [Symbol.asyncDispose]() {
      session.destroy(undefined, constants.NGHTTP2_CANCEL);
    },
  };
}

/** A frame of gRPC, gRPC-Web or a Connect stream. */
export function frame(message: Uint8Array, flags = 0): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flags, 0);
  head.writeUInt32BE(message.byteLength, 1);
  return Buffer.concat([head, message]);
}

function framesOf(body: Buffer): readonly { readonly flags: number; readonly data: Buffer }[] {
  const frames = [];
  for (let offset = 0; offset < body.length; ) {
    const end = offset + 5 + body.readUInt32BE(offset + 1);
    frames.push({ flags: body.readUInt8(offset), data: body.subarray(offset + 5, end) });
    offset = end;
  }
  return frames;
}

function errorIn({ status, headers, trailers, body }: RawResponse): ConnectError | undefined {
  const web = (fields: IncomingHttpHeaders) =>
    new Headers(
      Object.entries(fields).flatMap(([name, value]) =>
        name.startsWith(':') || typeof value !== 'string' ? [] : [[name, value] as [string, string]],
      ),
    );
  const type = headers['content-type'] ?? '';
  if (type.startsWith('application/grpc')) {
    const inBody = type.startsWith('application/grpc-web') ? framesOf(body).find(({ flags }) => flags === 0x80) : undefined;
    return (
      findTrailerError(web(headers)) ??
      (inBody === undefined ? findTrailerError(web(trailers)) : findTrailerError(trailerParse(inBody.data)))
    );
  }
  if (type.startsWith('application/connect')) {
    const last = framesOf(body).find(({ flags }) => flags === 0x02);
    return last && endStreamFromJson(last.data).error;
  }
  return status === 200 ? undefined : errorFromJsonBytes(body, undefined, new ConnectError(`HTTP ${status} without an error`));
}

/** The failure that an answer tells of. Throws when it tells of none. */
export function failureIn(response: RawResponse): Failure {
  const error = errorIn(response);
  if (error === undefined) throw new Error(`no error in ${JSON.stringify({ ...response, body: response.body.toString() })}`);
  return describeFailure(error);
}
