/** Words from outside, made fit for PostgreSQL and for the contract's limits. */

/** As many bytes as a body may have in the contract. */
export const MAX_BODY_BYTES = 1_048_576;

/** PostgreSQL has no character 0, and half a surrogate pair is no character. */
function storable(text: string): string {
  return text.replaceAll('\0', '\uFFFD').toWellFormed();
}

/** One line of at most so many UTF-16 units. */
export function lineOf(text: string, maxCharacters: number): string {
  return storable(text.replaceAll(/[\r\n]+/g, ' ').slice(0, maxCharacters));
}

/** A text of many lines, cut at MAX_BODY_BYTES of UTF-8. */
export function bodyOf(text: string): string {
  const whole = storable(text);
  if (Buffer.byteLength(whole) <= MAX_BODY_BYTES) return whole;
  // What is left of a character at the cut is decoded to a replacement.
  return Buffer.from(whole)
    .subarray(0, MAX_BODY_BYTES)
    .toString('utf8')
    .replace(/\uFFFD$/, '');
}

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** Never throws: bytes that are no UTF-8 become replacement characters. */
export function utf8Of(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const MAX_ATTEMPT = 1_000_000;

/** What we had the provider echo. Anything else than an id of ours counts as nothing: accounts may be shared. */
export function echoedOf(messageId: string | null | undefined, attempt: string | null | undefined) {
  const ours = messageId != null && UUID.test(messageId);
  const number = ours && attempt != null && /^\d{1,7}$/.test(attempt) ? Number(attempt) : 0;
  return {
    messageId: ours ? messageId.toLowerCase() : undefined,
    attempt: number >= 1 && number <= MAX_ATTEMPT ? number : undefined,
  };
}

/** Characters of single fields, as the contract has them. */
export const LIMITS = { id: 255, status: 64, code: 64, message: 4_096, address: 320, subject: 998 } as const;
