import type { IncomingMessage } from 'node:http';

export interface BodyLimits {
  readonly maxBytes: number;
  readonly timeoutMs: number;
  /** Asked before bytes are kept; false: there is no room for them. */
  take(bytes: number): boolean;
}

export type Body =
  | { readonly kind: 'whole'; readonly bytes: Buffer }
  | { readonly kind: 'too_large' | 'slow' | 'no_room' }
  /** The other side closed the connection; nobody waits for an answer. */
  | { readonly kind: 'gone' };

/** Never rejects. What is not whole leaves bytes unread, so its connection must end with the answer. */
export function readBody(request: IncomingMessage, { maxBytes, timeoutMs, take }: BodyLimits): Promise<Body> {
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) return Promise.resolve({ kind: 'too_large' });
  const { promise, resolve } = Promise.withResolvers<Body>();
  const chunks: Buffer[] = [];
  let bytes = 0;
  const settle = (body: Body): void => {
    clearTimeout(timer);
    request.off('data', keep);
    if (!request.readableEnded) request.pause();
    resolve(body);
  };
  const keep = (chunk: Buffer): void => {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) settle({ kind: 'too_large' });
    else if (take(chunk.byteLength)) chunks.push(chunk);
    else settle({ kind: 'no_room' });
  };
  const timer = setTimeout(() => settle({ kind: 'slow' }), timeoutMs);
  request.on('data', keep);
  request.once('end', () => settle({ kind: 'whole', bytes: Buffer.concat(chunks) }));
  request.once('close', () => settle({ kind: 'gone' }));
  // It is followed by `close`.
  request.on('error', () => undefined);
  return promise;
}
