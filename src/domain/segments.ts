/** Encoding and number of SMS segments, as 3GPP TS 23.038 and 23.040 define them. */
export interface Segmentation {
  readonly encoding: 'gsm7' | 'ucs2';
  readonly segmentCount: number;
  /** Characters that force UCS-2, in order of appearance, each once, at most 16. */
  readonly nonGsmCharacters: readonly string[];
}

const BASIC = new Set(
  '@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&\'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà',
);
/** Each takes an escape and a second septet. */
const EXTENSION = new Set('\f^{}\\[~]|€');

const MAX_REPORTED = 16;

/** One segment alone, and each of several: the header that joins them takes room. */
const SEPTETS = { single: 160, multiple: 153 } as const;
const UCS2_UNITS = { single: 70, multiple: 67 } as const;

/** Makes no difference where what people take for one character ends; a name is asked for. */
const GRAPHEMES = new Intl.Segmenter('en', { granularity: 'grapheme' });

/** An escape and what it stands before are not torn apart. */
function gsmSegments(characters: readonly string[]): number {
  const sizes = characters.map((character) => (EXTENSION.has(character) ? 2 : 1));
  if (sizes.reduce((sum, size) => sum + size, 0) <= SEPTETS.single) return 1;
  let segments = 1;
  let used = 0;
  for (const size of sizes) {
    if (used + size > SEPTETS.multiple) {
      segments += 1;
      used = 0;
    }
    used += size;
  }
  return segments;
}

/** What people take for one character is not torn apart, as in Twilio's own counter, unless it is longer than a segment. */
function ucs2Segments(body: string): number {
  if (body.length <= UCS2_UNITS.single) return 1;
  const graphemes = GRAPHEMES.segment(body);
  let segments = 1;
  // Each round moves on, by a segment or almost.
  for (let start = 0; body.length - start > UCS2_UNITS.multiple; segments += 1) {
    start = borderBefore(body, graphemes, start, start + UCS2_UNITS.multiple);
  }
  return segments;
}

/** The last place in (start, end] where the text may be cut. */
function borderBefore(body: string, graphemes: Intl.Segments, start: number, end: number): number {
  const isLineBreak = body[end - 1] === '\r' && body[end] === '\n';
  const border = isLineBreak ? end : (graphemes.containing(end)?.index ?? end);
  if (border > start) return border;
  return isLowSurrogate(body.charCodeAt(end)) ? end - 1 : end;
}

const isLowSurrogate = (unit: number): boolean => unit >= 0xdc00 && unit <= 0xdfff;

/** An empty body still takes one segment. */
export function segment(body: string): Segmentation {
  const characters = [...body];
  const foreign = characters.filter((character) => !BASIC.has(character) && !EXTENSION.has(character));
  if (foreign.length === 0) return { encoding: 'gsm7', segmentCount: gsmSegments(characters), nonGsmCharacters: [] };
  return { encoding: 'ucs2', segmentCount: ucs2Segments(body), nonGsmCharacters: [...new Set(foreign)].slice(0, MAX_REPORTED) };
}
