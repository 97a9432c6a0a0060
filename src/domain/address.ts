import { parsePhoneNumberFromString } from 'libphonenumber-js/min';
import { DomainError } from './errors.ts';

/** What an address belongs to. SMS and MMS share the phone channel. */
export type Channel = 'sms' | 'email';

/** A normalized address: E.164, short code, alphanumeric sender id, or email with its domain lower-cased. */
export interface Address {
  readonly channel: Channel;
  /** As stored and shown. */
  readonly text: string;
  /** Equal for two spellings of one address; conversations are matched on it. */
  readonly key: string;
}

const EMAIL = /^[^\s@"(),:;<>[\]\\\p{Cc}]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$/iu;
const E164 = /^\+[1-9]\d{6,14}$/;
const SHORT_CODE = /^\d{3,8}$/;
/** At most 11 letters, digits and spaces, at least one letter: what networks accept as an alphanumeric sender. */
const SENDER_ID = /^(?=.*[A-Za-z])[A-Za-z0-9][A-Za-z0-9 &_-]{0,10}$/;

function invalid(field: string, description: string): DomainError {
  return new DomainError('address_invalid', `${field}: ${description}`, { metadata: { field }, fields: [{ field, description }] });
}

/** Throws address_invalid. `field` is the path in the request, for the error. */
export function parseEmail(text: string, field: string): Address {
  const trimmed = text.trim();
  if (trimmed.length > 254 || !EMAIL.test(trimmed)) throw invalid(field, 'is not an email address');
  const at = trimmed.lastIndexOf('@');
  const normalized = trimmed.slice(0, at) + trimmed.slice(at).toLowerCase();
  return { channel: 'email', text: normalized, key: normalized.toLowerCase() };
}

/** undefined: it is no number of a known range. As a whole: `whatsapp:+1415...` has a number within it, and is another address. */
function numberOf(trimmed: string) {
  const parsed = parsePhoneNumberFromString(trimmed, { extract: false });
  return parsed?.isValid() ? parsed : undefined;
}

/** Throws address_invalid. Accepts what people type in international form, e.g. "+1 (415) 555-2671". */
export function parsePhone(text: string, field: string): Address {
  const parsed = numberOf(text.trim());
  if (parsed === undefined || parsed.ext !== undefined) {
    throw invalid(field, 'is not a valid phone number in international form, such as +14155552671');
  }
  return { channel: 'sms', text: parsed.number, key: parsed.number };
}

/** Throws address_invalid. Any address that can take part in a message of the channel as the sending side. */
export function parseSender(text: string, channel: Channel, field: string): Address {
  if (channel === 'email') return parseEmail(text, field);
  const trimmed = text.trim();
  if (SHORT_CODE.test(trimmed) || SENDER_ID.test(trimmed)) return { channel: 'sms', text: trimmed, key: trimmed };
  return parsePhone(trimmed, field);
}

/** Throws address_invalid. Whoever has written to us: a sender, or a number of a range that is newer than what is known about numbers. */
export function parseCorrespondent(text: string, channel: Channel, field: string): Address {
  const trimmed = text.trim();
  const isUnknown = channel === 'sms' && E164.test(trimmed) && numberOf(trimmed) === undefined;
  return isUnknown ? { channel, text: trimmed, key: trimmed } : parseSender(trimmed, channel, field);
}

/** Throws address_invalid. An address a message can be sent to; its form decides the channel. */
export function parseRecipient(text: string, field: string): Address {
  return text.includes('@') ? parseEmail(text, field) : parsePhone(text, field);
}

/** The address that a row holds as text: it was normalized when it came. */
export function storedAddress(text: string, channel: Channel): Address {
  return { channel, text, key: channel === 'email' ? text.toLowerCase() : text };
}

/** The key of an address of unknown channel, for filters: never throws, an unknown form matches only itself. */
export function addressKey(text: string): string {
  const trimmed = text.trim();
  if (trimmed.includes('@')) return trimmed.toLowerCase();
  return numberOf(trimmed)?.number ?? trimmed;
}
