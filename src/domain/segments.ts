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

/** Splits units that must not be torn apart (an escape pair, a surrogate pair) over segments of a fixed size. */
function segmentsOf(unitSizes: readonly number[], single: number, multiple: number): number {
  const total = unitSizes.reduce((sum, size) => sum + size, 0);
  if (total <= single) return 1;
  let segments = 1;
  let used = 0;
  for (const size of unitSizes) {
    if (used + size > multiple) {
      segments += 1;
      used = 0;
    }
    used += size;
  }
  return segments;
}

/** An empty body still takes one segment. */
export function segment(body: string): Segmentation {
  const characters = [...body];
  const foreign = characters.filter((character) => !BASIC.has(character) && !EXTENSION.has(character));
  if (foreign.length === 0) {
    const sizes = characters.map((character) => (EXTENSION.has(character) ? 2 : 1));
    return { encoding: 'gsm7', segmentCount: segmentsOf(sizes, 160, 153), nonGsmCharacters: [] };
  }
  const sizes = characters.map((character) => character.length);
  return {
    encoding: 'ucs2',
    segmentCount: segmentsOf(sizes, 70, 67),
    nonGsmCharacters: [...new Set(foreign)].slice(0, MAX_REPORTED),
  };
}
