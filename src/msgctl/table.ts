/** Columns of text for a terminal or a file. */
import { stripVTControlCharacters, styleText } from 'node:util';

export interface Column {
  readonly name: string;
  /** Numbers, to the right. */
  readonly number?: boolean;
  /** May be cut when the terminal is narrow; ids may not, or they could not be copied. */
  readonly cut?: boolean;
}

const GAP = '  ';
const NARROWEST = 8;

const STYLES: Readonly<Record<string, 'red' | 'green' | 'yellow'>> = {
  failed: 'red',
  quarantined: 'red',
  'not serving': 'red',
  delivered: 'green',
  processed: 'green',
  serving: 'green',
  pending: 'yellow',
  unmatched: 'yellow',
};

/** Text from outside must not move the cursor or colour the terminal. */
export const harmless = (text: string): string => stripVTControlCharacters(text).replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ');

const cutTo = (text: string, width: number): string => (text.length <= width ? text : `${text.slice(0, width - 1)}…`);

/** Widths that hold every cell, cut down where that is allowed until a line has `terminalWidth` characters, or it can get no narrower. */
function widthsOf(columns: readonly Column[], rows: readonly (readonly string[])[], terminalWidth: number): number[] {
  const widths = columns.map(({ name }, index) => Math.max(name.length, ...rows.map((row) => row[index]?.length ?? 0)));
  const total = () => widths.reduce((sum, width) => sum + width + GAP.length, -GAP.length);
  for (let surplus = total() - terminalWidth; surplus > 0; surplus -= 1) {
    const cuttable = widths.flatMap((width, index) => (columns[index]?.cut === true && width > NARROWEST ? [{ width, index }] : []));
    const widest = cuttable.toSorted((left, right) => right.width - left.width)[0];
    if (widest === undefined) break;
    widths[widest.index] = widest.width - 1;
  }
  return widths;
}

/** Lines without their ends. Colours only where `stream` shows them: a terminal, and NO_COLOR is not set. */
export function tableLines(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  stream: NodeJS.WriteStream,
): readonly string[] {
  const cells = rows.map((row) => row.map(harmless));
  const widths = widthsOf(columns, cells, stream.isTTY ? stream.columns : Number.POSITIVE_INFINITY);
  const cell = (text: string, index: number): string => {
    const width = widths[index] ?? 0;
    return columns[index]?.number === true ? text.padStart(width) : cutTo(text, width).padEnd(width);
  };
  const line = (row: readonly string[], style: (text: string) => string) =>
    row
      .map((text, index) => (index === row.length - 1 && columns[index]?.number !== true ? cell(text, index).trimEnd() : cell(text, index)))
      .map(style)
      .join(GAP)
      .trimEnd();
  const styled = (text: string): string => {
    const colour = STYLES[text.trim()];
    return colour === undefined ? text : styleText(colour, text, { stream });
  };
  const head = line(
    columns.map(({ name }) => name.toUpperCase()),
    (text) => styleText('dim', text, { stream }),
  );
  return [head, ...cells.map((row) => line(row, styled))];
}

/** `name  value` lines; empty values are left out. */
export function fieldLines(fields: Readonly<Record<string, string>>, stream: NodeJS.WriteStream): readonly string[] {
  const shown = Object.entries(fields).filter(([, value]) => value !== '');
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${styleText('dim', name.padEnd(width), { stream })}${GAP}${harmless(value)}`);
}
