/** Requests that no client library would send, byte by byte over HTTP/2. */
import {
  type ClientHttp2Session,
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
  readonly body?: Uint8Array;
  /** The request stays open: its end never comes. */
  readonly endless?: boolean;
  /** Nothing of the answer's body is read. */
  readonly unread?: boolean;
}

export interface RawResponse {
  readonly status: number | undefined;
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
  cancel(): void;
  write(bytes: Uint8Array): void;
}

export interface RawClient extends AsyncDisposable {
  readonly session: ClientHttp2Session;
  open(request: RawRequest): RawCall;
  /** Never rejects: a stream that is cut off has a `rstCode`. */
  call(request: RawRequest): Promise<RawResponse>;
}

export async function connectRaw(url: string, options: SecureClientSessionOptions = {}): Promise<RawClient> {
  const session = connect(url, options);
  await new Promise<void>((resolve, reject) => {
    session.once('connect', () => resolve());
    session.once('error', reject);
  });
  session.on('error', () => undefined);
  const open = ({ path, headers, body, endless = false, unread = false }: RawRequest): RawCall => {
    const ended = Promise.withResolvers<RawResponse>();
    const answering = Promise.withResolvers<void>();
    const stream = session.request({ ':method': 'POST', ':path': path, ...headers }, { endStream: false });
    const chunks: Buffer[] = [];
    let answer: IncomingHttpHeaders & IncomingHttpStatusHeader = {};
    let trailers: IncomingHttpHeaders = {};
    stream.on('response', (received) => {
      answer = received;
    });
    stream.on('trailers', (received) => {
      trailers = received;
    });
    if (!unread) {
      stream.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        answering.resolve();
      });
    }
    stream.on('error', () => undefined);
    stream.on('close', () => {
      ended.resolve({ status: answer[':status'], headers: answer, trailers, body: Buffer.concat(chunks), rstCode: stream.rstCode ?? 0 });
    });
    if (body !== undefined) stream.write(body);
    if (!endless) stream.end();
    return {
      ended: ended.promise,
      answering: answering.promise,
      cancel: () => stream.close(constants.NGHTTP2_CANCEL),
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
