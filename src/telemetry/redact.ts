/** What may stand in a log line: no body, address, password, token or connection string, wherever in the line it is. */
import { errorFields } from './error-fields.ts';

const REDACTED = '[redacted]';

const MAX_TEXT_CHARS = 2_048;
const MAX_ITEMS = 50;
const MAX_DEPTH = 6;

/** Fields whose value never appears; spelled without case, `_` and `-`. */
const SECRET_KEYS: ReadonlySet<string> = new Set([
  ...['body', 'htmlbody', 'textbody', 'html', 'content', 'subject', 'snippet', 'payload', 'text', 'query', 'sql', 'values', 'params'],
  ...['fromaddress', 'toaddress', 'from', 'to', 'cc', 'bcc', 'address', 'addresses', 'participant', 'participants', 'phone', 'email'],
  ...['recipient', 'sender', 'password', 'passwd', 'secret', 'token', 'accesstoken', 'apikey', 'authtoken', 'authorization', 'cookie'],
  ...['setcookie', 'credentials', 'signature', 'pagetoken', 'nextpagetoken', 'url', 'uri', 'dsn', 'connectionstring', 'databaseurl'],
  ...['clienturl', 'redisurl', 'headers', 'metadata', 'attachments', 'message', 'detail'],
]);

function isSecret(key: string): boolean {
  return SECRET_KEYS.has(key.toLowerCase().replaceAll(/[_-]/g, ''));
}

/** Each is linear: bounded repetition in front of the character that decides. */
const PATTERNS: readonly (readonly [RegExp, string])[] = [
  [/\b(postgres(?:ql)?|rediss?|amqps?|mysql|mongodb):\/\/\S+/gi, `$1://${REDACTED}`],
  [/:\/\/[^\s/]{1,256}@/g, `://${REDACTED}@`],
  [/\b(password|passwd|pwd|token|secret|api_?key)=[^\s&;]+/gi, `$1=${REDACTED}`],
  [/\b(bearer|basic) [\w.~+/=-]{8,}/gi, `$1 ${REDACTED}`],
  [/[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+/g, REDACTED],
  [/\+\d{7,15}\b/g, REDACTED],
];

/** Text without connection strings, credentials, email addresses and phone numbers, cut at 2,048 characters. */
export function redactText(text: string): string {
  let redacted = text.slice(0, MAX_TEXT_CHARS);
  for (const [pattern, replacement] of PATTERNS) redacted = redacted.replaceAll(pattern, replacement);
  return text.length > MAX_TEXT_CHARS ? `${redacted} …` : redacted;
}

function redactValue(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return redactText(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'function' || typeof value === 'symbol') return undefined;
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Error) return errorFields(value);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (depth >= MAX_DEPTH) return '[deeper]';
  if (Array.isArray(value)) return value.slice(0, MAX_ITEMS).map((item) => redactValue(item, depth + 1));
  return redactObject(value, depth + 1);
}

function redactObject(fields: object, depth: number): Record<string, unknown> {
  const redacted: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields).slice(0, MAX_ITEMS)) {
    redacted[key] = isSecret(key) && value !== undefined ? REDACTED : redactValue(value, depth);
  }
  return redacted;
}

/** The fields of a log line as they may be written; errors become their type, code and frames. */
export function redactFields(fields: object): Record<string, unknown> {
  return fields instanceof Error ? { err: errorFields(fields) } : redactObject(fields, 0);
}
