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
// None of these joins its neighbour to one grapheme: the judge keeps graphemes whole, the standard only characters.
const foreign = [...'`çêšЖ日本語\u0000\t“”…😀🎉𝒳'];

const gsm = fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...basic) }, { weight: 1, arbitrary: fc.constantFrom(...extension) });
const any = fc.oneof({ weight: 3, arbitrary: gsm }, { weight: 2, arbitrary: fc.constantFrom(...foreign) });

describe('segments of an SMS', () => {
  it('agree with the judge for text in the GSM alphabet', () => {
    fc.assert(
      fc.property(fc.string({ unit: gsm, maxLength: 340 }), (body) => {
        expect(counted(body)).toEqual(judged(body));
      }),
      { numRuns: 60 },
    );
  });

  it('agree with the judge for text in any alphabet', () => {
    fc.assert(
      fc.property(fc.string({ unit: any, maxLength: 160 }), (body) => {
        expect(counted(body)).toEqual(judged(body));
      }),
      { numRuns: 60 },
    );
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
