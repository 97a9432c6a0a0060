import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type InboundText, keywordOf, suppressionByKeyword } from '../../src/domain/opt-out-keywords.ts';

const words = {
  stop: ['STOP', 'STOPALL', 'UNSUBSCRIBE', 'CANCEL', 'END', 'QUIT', 'REVOKE', 'OPTOUT'],
  start: ['START', 'YES', 'UNSTOP'],
  help: ['HELP', 'INFO'],
} as const;
const table = Object.entries(words).flatMap(([keyword, all]) => all.map((word) => [word, keyword] as const));

const text = (fields: Partial<InboundText>): InboundText => ({ messageType: 'sms', body: '', metaData: {}, ...fields });

describe('a body', () => {
  it.each(table)('%s is the keyword %s, in any case, with spaces around it and punctuation behind it', (word, keyword) => {
    const letters = [...word].map((letter) => fc.constantFrom(letter, letter.toLowerCase()));
    const spaces = fc.string({ unit: fc.constantFrom(' ', '\t', '\r\n', '\u00a0'), maxLength: 3 });
    const behind = fc.string({ unit: fc.constantFrom('.', '!', '?', ',', '…', ' '), maxLength: 4 });
    fc.assert(
      fc.property(spaces, fc.tuple(...letters), behind, spaces, (before, spelled, end, after) => {
        expect(keywordOf(`${before}${spelled.join('')}${end}${after}`)).toBe(keyword);
      }),
    );
  });

  it.each([
    '',
    ' ',
    '!',
    'STOP it',
    'please stop',
    'STOP ALL',
    'STOPP',
    'NONSTOP',
    '"STOP"',
    '.stop',
    'opt-out',
    'S T O P',
    'stop\nstop',
    'no',
    'Y',
    'constructor',
    '__proto__',
    `STOP${'!'.repeat(100)}`,
  ])('such as %j is none', (body) => {
    expect(keywordOf(body)).toBeUndefined();
  });

  it('is given up when it is long', () => {
    // Looking for punctuation before the `x` from every character would outlast the test.
    expect(keywordOf(`${'!'.repeat(200_000)}x`)).toBeUndefined();
  });
});

describe('an inbound message', () => {
  const stop = { kind: 'suppress', source: 'keyword', scope: 'sender' };
  const start = { kind: 'lift', sources: ['keyword', 'provider'], scope: 'sender' };

  it.each<readonly [string, Partial<InboundText>, unknown]>([
    ['STOP suppresses', { body: 'Stop.' }, stop],
    ['STOP beside a picture suppresses', { messageType: 'mms', body: 'STOP' }, stop],
    ['START lifts what the recipient or the provider had asked for', { body: 'start' }, start],
    ['HELP changes nothing', { body: 'HELP' }, undefined],
    ['any other text changes nothing', { body: 'Thank you! Stop by any time.' }, undefined],
    ['STOP by email is only a word', { messageType: 'email', body: 'STOP' }, undefined],
    ['email is not told apart by meta data either', { messageType: 'email', metaData: { opt_out_type: 'STOP' } }, undefined],
    ["the provider's verdict counts without a keyword of ours", { body: 'ARRET', metaData: { opt_out_type: 'STOP' } }, stop],
    ["the provider's verdict counts more than a keyword of ours", { body: 'STOP', metaData: { opt_out_type: 'START' } }, start],
    ['HELP by the provider counts more, too', { body: 'END', metaData: { opt_out_type: 'help' } }, undefined],
    ['a verdict that nobody knows does not count', { body: 'STOP', metaData: { opt_out_type: 'PAUSE' } }, stop],
    ['a verdict that is no text does not count', { body: 'STOP', metaData: { opt_out_type: { STOP: 1 } } }, stop],
  ])('%s', (_what, fields, change) => {
    expect(suppressionByKeyword(text(fields))).toEqual(change);
  });
});
