import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressKey, parseCorrespondent, parseEmail, parsePhone, parseRecipient, parseSender } from '../../src/domain/address.ts';
import { DomainError } from '../../src/domain/errors.ts';

function refusal(parse: () => unknown): DomainError {
  try {
    parse();
  } catch (error) {
    if (error instanceof DomainError) return error;
    throw error;
  }
  throw new Error('was accepted');
}

/** A number is in it, but it is no number. */
const WITHIN = ['whatsapp:+14155552671', 'tel:+14155552671', 'call me +14155552671', '+14155552671 please'];

describe('a phone number', () => {
  it.each(['+1 (415) 555-2671', '+1-415-555-2671', ' +14155552671 ', '+1.415.555.2671'])('written %j is stored as E.164', (text) => {
    expect(parsePhone(text, 'to_address')).toEqual({ channel: 'sms', text: '+14155552671', key: '+14155552671' });
  });

  it.each([
    '',
    '+',
    '4155552671',
    '+15551234567',
    '+1415555267',
    '+14155552671 ext. 5',
    '+141555526711111',
    'hello',
    '+1\u0000',
    ...WITHIN,
  ])('written %j is refused', (text) => {
    expect(refusal(() => parsePhone(text, 'message.to_address')).code).toBe('address_invalid');
  });
});

describe('an email address', () => {
  it('keeps the case of its local part, and is matched without it', () => {
    expect(parseEmail(' Ann.Lee+News@EXAMPLE.Com ', 'to_address')).toEqual({
      channel: 'email',
      text: 'Ann.Lee+News@example.com',
      key: 'ann.lee+news@example.com',
    });
  });

  it.each([
    '',
    '@example.com',
    'ann@',
    'ann@localhost',
    'ann@example..com',
    'ann@-example.com',
    'ann@example.c',
    'ann@example.123',
    'a b@example.com',
    'ann@b@example.com',
    'Ann <ann@example.com>',
    'ann@example.com,bob@example.com',
    'ann@example.com\nBcc: bob@example.com',
    `${'a'.repeat(65)}@example.com`,
    `ann@${'a'.repeat(64)}.com`,
    `ann@${'abcdefgh.'.repeat(28)}example`,
  ])('written %j is refused', (text) => {
    expect(refusal(() => parseEmail(text, 'to_address')).code).toBe('address_invalid');
  });
});

describe('a sender', () => {
  it.each(['12345', 'ACME', 'Acme Shop', '4Acme'])('of the phone channel may be the short code or name %j', (text) => {
    expect(parseSender(text, 'sms', 'from_address')).toEqual({ channel: 'sms', text, key: text });
  });

  it('may be a phone number', () => {
    expect(parseSender('+1 415 555 2671', 'sms', 'from_address').text).toBe('+14155552671');
  });

  it.each(['12', '123456789', 'Twelve Chars', '', ' ', 'Acme!', '+12345'])('of the phone channel may not be %j', (text) => {
    expect(refusal(() => parseSender(text, 'sms', 'from_address')).code).toBe('address_invalid');
  });

  it('of an email is an email address', () => {
    expect(parseSender('Shop@Example.com', 'email', 'from_address').key).toBe('shop@example.com');
    expect(refusal(() => parseSender('ACME', 'email', 'from_address')).code).toBe('address_invalid');
  });
});

describe('whoever wrote to us', () => {
  // Ranges that the metadata do not have.
  it.each(['+15551234567', '+99912345678', '+1234567'])('may have the number %j, which is newer than what is known', (text) => {
    expect(parseCorrespondent(` ${text} `, 'sms', 'from_address')).toEqual({ channel: 'sms', text, key: text });
    expect(refusal(() => parseSender(text, 'sms', 'from_address')).code).toBe('address_invalid');
  });

  it('is otherwise any sender', () => {
    for (const text of ['+14155552671', '12345', 'ACME']) {
      expect(parseCorrespondent(text, 'sms', 'from_address')).toEqual(parseSender(text, 'sms', 'from_address'));
    }
    for (const text of ['+0155552671', '+123456', '+1415555267111111', '+1 555 123 4567', ...WITHIN]) {
      expect(refusal(() => parseCorrespondent(text, 'sms', 'from_address')).code).toBe('address_invalid');
    }
    expect(refusal(() => parseCorrespondent('+15551234567', 'email', 'from_address')).code).toBe('address_invalid');
  });
});

describe('a recipient', () => {
  it('decides the channel by its form', () => {
    expect(parseRecipient('ann@example.com', 'to_address').channel).toBe('email');
    expect(parseRecipient('+14155552671', 'to_address').channel).toBe('sms');
  });

  it('cannot be a short code or a name', () => {
    expect(refusal(() => parseRecipient('12345', 'to_address')).code).toBe('address_invalid');
    expect(refusal(() => parseRecipient('ACME', 'to_address')).code).toBe('address_invalid');
  });
});

describe('a refused address', () => {
  it('is an error that names the field and not the value', () => {
    const error = refusal(() => parseRecipient('secret person', 'message.to_address'));
    expect(error.fields.map(({ field }) => field)).toEqual(['message.to_address']);
    expect(error.metadata).toEqual({ field: 'message.to_address' });
    expect(JSON.stringify([error.message, error.fields])).not.toContain('secret');
  });
});

describe('an address key', () => {
  it.each([
    ['+1 (415) 555-2671', '+14155552671'],
    ['Ann@Example.COM', 'ann@example.com'],
    [' ACME ', 'ACME'],
    ['12345', '12345'],
    ['whatsapp:+14155552671', 'whatsapp:+14155552671'],
    ['no address at all', 'no address at all'],
  ])('of %j is %j', (text, key) => {
    expect(addressKey(text)).toBe(key);
  });

  it('is the key of the parsed address, however it was written', () => {
    const local = fc.stringMatching(/^[A-Za-z0-9._+-]{1,20}$/);
    const domain = fc.stringMatching(/^[A-Za-z0-9]{1,10}\.[A-Za-z]{2,6}$/);
    fc.assert(
      fc.property(local, domain, (name, host) => {
        const text = `${name}@${host}`;
        expect(addressKey(text)).toBe(parseEmail(text, 'address').key);
      }),
    );
  });

  it('does not change when it is made a key again, and never throws', () => {
    const unit = fc.oneof(
      fc.constantFrom(...'+@ .1'),
      fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code)),
    );
    fc.assert(fc.property(fc.string({ unit }), (text) => addressKey(addressKey(text)) === addressKey(text)));
  });
});
