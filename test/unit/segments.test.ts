import fc from 'fast-check';
import { SegmentedMessage } from 'sms-segments-calculator';
import { describe, expect, it } from 'vitest';
import { segment } from '../../src/domain/segments.ts';

/** Twilio's counter as the judge. */
function judged(body: string) {
  const { encodingName, segments } = new SegmentedMessage(body);
  return { encoding: encodingName === 'GSM-7' ? 'gsm7' : 'ucs2', segmentCount: segments.length };
}

function counted(body: string) {
  const { encoding, segmentCount } = segment(body);
  return { encoding, segmentCount };
}

const basic = [...'@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&\'()*+,-./0123456789:;<=>?¡AZÄÖÑÜ§¿azäöñüà'];
const extension = [...'\f^{}\\[~]|€'];
const foreign = [...'`çêšЖ日本語각नेกำ\u0000\u0001\u0007\u001b\u007f\u0085\u00a0\u200b\u2028\ufeff\t“”…😀🎉𝒳'];
const breaks = ['\r\n', '\n', '\r', '\n\r', '\r\r\n'];
/** Several characters each, which people, and the judge, take for one. */
const joined = [
  ...['e\u0301', 'a\u0323\u0302', 'Ж\u0306', '\u0301', 'ä\u20dd'],
  ...['\u1100\u1161\u11a8', '\uac00\u11a8', 'नी', 'षि', 'กำ', '\u0e01\u0e48\u0e33'],
  ...['👍🏽', '👩‍👩‍👧‍👦', '👩‍❤️‍💋‍👩', '🏳️‍🌈', '❤️', '1️⃣', '🇩🇪', '🇫🇷', '🇩', '\u0600a'],
];
/** Half a pair: no caller can send one, but none may be lost. */
const halves = ['\ud83d', '\ude00'];

const gsm = fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...basic) }, { weight: 1, arbitrary: fc.constantFrom(...extension) });
const any = fc.oneof(
  { weight: 3, arbitrary: gsm },
  { weight: 2, arbitrary: fc.constantFrom(...foreign) },
  { weight: 3, arbitrary: fc.constantFrom(...joined) },
  { weight: 1, arbitrary: fc.constantFrom(...breaks, ...halves) },
);
/** Few kinds of unit, so that the same one is at every border. */
const few = fc.uniqueArray(any, { minLength: 1, maxLength: 3 }).map((units) => fc.constantFrom(...units));
const ofFew = (minLength: number, maxLength: number) => few.chain((unit) => fc.string({ unit, minLength, maxLength }));

/** Longer than a segment; for those see below. */
const MAX_JOINED_UNITS = 67;
const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' });
const hasOverlong = (body: string): boolean => [...graphemes.segment(body)].some(({ segment: text }) => text.length > MAX_JOINED_UNITS);

function agrees(bodies: fc.Arbitrary<string>, numRuns: number): void {
  fc.assert(
    fc.property(bodies, (body) => {
      fc.pre(!hasOverlong(body));
      expect(counted(body)).toEqual(judged(body));
    }),
    { numRuns },
  );
}

describe('segments of an SMS', () => {
  it('agree with the judge for text in the GSM alphabet', () => {
    agrees(fc.string({ unit: gsm, maxLength: 340 }), 1_000);
  });

  it('agree with the judge for text in any alphabet, with what is joined to one character, line breaks and control characters', () => {
    agrees(fc.string({ unit: any, maxLength: 160 }), 2_000);
  });

  it('agree with the judge where the same characters come to every border', { timeout: 60_000 }, () => {
    agrees(ofFew(20, 140), 2_000);
  });

  it('agree with the judge up to the longest text', { timeout: 60_000 }, () => {
    agrees(fc.oneof(fc.string({ unit: gsm, minLength: 900, maxLength: 1_600 }), ofFew(500, 1_600)), 60);
  });

  it('agree with the judge for any character of Unicode between two others', { timeout: 60_000 }, () => {
    const character = fc.string({ unit: 'binary', minLength: 1, maxLength: 1 });
    // The judge's tables are those of Unicode 10: what joins others only since then it keeps apart.
    const joiner = /[\p{M}\p{Cf}\p{Emoji_Modifier}\p{Regional_Indicator}\p{Lo}]/u;
    const bodies = fc.tuple(fc.integer({ min: 60, max: 70 }), character, fc.nat(70)).filter(([, text]) => !joiner.test(text));
    agrees(
      bodies.map(([before, text, after]) => `${'Ж'.repeat(before)}${text}${'Ж'.repeat(after)}`),
      300,
    );
  });

  it('are 140 octets at most: a joined character that is longer is torn apart between two of its parts', () => {
    // The judge leaves it whole, in a segment that TS 23.040 does not allow.
    const long = `e${'\u0301'.repeat(139)}`;
    expect(counted(long)).toEqual({ encoding: 'ucs2', segmentCount: 3 });
    expect(judged(long).segmentCount).toBe(2);
    // 66 units, not half of the 34th pair: two segments and the rest.
    expect(counted('🏽'.repeat(67))).toEqual({ encoding: 'ucs2', segmentCount: 3 });
  });

  it('follow the Unicode of this Node, in which Devanagari conjuncts are one character', () => {
    // The judge's tables are those of Unicode 10. No standard says how to cut text that fits either way.
    const conjunct = `${'Ж'.repeat(65)}क्ष${'Ж'.repeat(66)}`;
    expect(counted(conjunct).segmentCount).toBe(3);
    expect(judged(conjunct).segmentCount).toBe(2);
  });

  it('agree with the judge around every limit, with a character of two units at the seam', () => {
    const seams = [152, 153, 154, 159, 160, 161, 305, 306, 307].flatMap((length) => [
      'a'.repeat(length),
      `${'a'.repeat(length - 1)}€`,
      `${'a'.repeat(length - 1)}€b`,
    ]);
    const wideSeams = [66, 67, 68, 69, 70, 71, 133, 134, 135].flatMap((length) => [
      'Ж'.repeat(length),
      `${'Ж'.repeat(length - 1)}😀`,
      `${'Ж'.repeat(length - 1)}😀b`,
    ]);
    for (const body of [...seams, ...wideSeams]) expect([body, counted(body)]).toEqual([body, judged(body)]);
  });

  it.each([
    ['nothing at all', '', 'gsm7', 1],
    ['160 septets', 'a'.repeat(160), 'gsm7', 1],
    ['161 septets', 'a'.repeat(161), 'gsm7', 2],
    ['two full segments', 'a'.repeat(306), 'gsm7', 2],
    ['an escape pair that does not fit the first segment', `${'a'.repeat(152)}€${'a'.repeat(152)}`, 'gsm7', 3],
    ['70 UCS-2 units', 'Ж'.repeat(70), 'ucs2', 1],
    ['71 UCS-2 units', 'Ж'.repeat(71), 'ucs2', 2],
    ['a surrogate pair that does not fit the first segment', `${'Ж'.repeat(66)}😀${'Ж'.repeat(66)}`, 'ucs2', 3],
    ['extension characters, which take one unit in UCS-2', `Ж${'€'.repeat(69)}`, 'ucs2', 1],
  ])('for %s', (_, body, encoding, segmentCount) => {
    expect(counted(body)).toEqual({ encoding, segmentCount });
  });

  it('name what forces UCS-2, each once and in order of appearance', () => {
    expect(segment('a😀b`c😀').nonGsmCharacters).toEqual(['😀', '`']);
  });

  it('name 16 such characters at most', () => {
    const cyrillic = Array.from({ length: 20 }, (_, index) => String.fromCodePoint(0x430 + index));
    expect(segment(cyrillic.join('')).nonGsmCharacters).toEqual(cyrillic.slice(0, 16));
  });

  it('know all 127 characters of the basic and 10 of the extension table', () => {
    const known = Array.from({ length: 0x2100 }, (_, code) => String.fromCodePoint(code)).filter(
      (text) => segment(text).encoding === 'gsm7',
    );
    const twoSeptets = known.filter((text) => segment(text.repeat(81)).segmentCount === 2);
    expect([known.length, twoSeptets.join('')]).toEqual([137, '\f[\\]^{|}~€']);
  });
});
