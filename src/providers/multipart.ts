/** Multipart forms, whole in memory. */

export interface FormPart {
  readonly name: string;
  /** undefined: a field, not a file. */
  readonly filename: string | undefined;
  readonly contentType: string;
  readonly sizeBytes: number;
  /** Of a field; of a file nothing is kept. */
  readonly bytes: Buffer;
}

const MAX_PARTS = 1_000;
/** Parsing is work of the processor alone; only a bug of the parser takes longer. */
const PARSE_TIMEOUT_MS = 10_000;

/** undefined: it is not a multipart form, or not a whole one. Never throws. */
export async function partsOf(contentType: string, body: Uint8Array): Promise<readonly FormPart[] | undefined> {
  if (!/^multipart\/form-data\s*;/i.test(contentType)) return undefined;
  const { Busboy } = await import('@fastify/busboy');
  const { promise, resolve } = Promise.withResolvers<readonly FormPart[] | undefined>();
  const broken = (): void => resolve(undefined);
  const timer = setTimeout(broken, PARSE_TIMEOUT_MS);
  const parts: FormPart[] = [];
  try {
    // Fields are taken as files too: as text they would be decoded before their charset is known.
    const parser = new Busboy({ headers: { 'content-type': contentType }, isPartAFile: () => true, limits: { parts: MAX_PARTS } });
    parser.on('file', (name: string | undefined, stream, filename: string | undefined, _encoding, type) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => {
        if (filename === undefined) chunks.push(chunk);
      });
      stream.on('error', broken);
      stream.on('end', () =>
        parts.push({ name: name ?? '', filename, contentType: type, sizeBytes: stream.bytesRead, bytes: Buffer.concat(chunks) }),
      );
    });
    parser.on('partsLimit', broken);
    parser.on('error', broken);
    parser.on('finish', () => resolve(parts));
    parser.end(body);
    return await promise;
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}
