/** multipart/form-data as SendGrid's Inbound Parse writes it. */

export interface Part {
  readonly name: string;
  readonly content: Buffer;
  readonly filename?: string;
  readonly contentType?: string;
}

/** What would end the quotes or the line is escaped the way browsers do it. */
const quoted = (text: string): string => `"${text.replaceAll('"', '%22').replaceAll('\r', '%0D').replaceAll('\n', '%0A')}"`;

export function encodeMultipart(parts: readonly Part[], boundary: string): Buffer {
  const chunks = parts.flatMap(({ name, content, filename, contentType }) => {
    const file = filename === undefined ? '' : `; filename=${quoted(filename)}`;
    const type = contentType === undefined ? '' : `\r\nContent-Type: ${contentType.replaceAll(/[\r\n]/g, '')}`;
    return [
      Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name=${quoted(name)}${file}${type}\r\n\r\n`),
      content,
      Buffer.from('\r\n'),
    ];
  });
  return Buffer.concat([...chunks, Buffer.from(`--${boundary}--\r\n`)]);
}
