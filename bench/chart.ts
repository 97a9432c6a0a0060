/** The result as a picture: CPU per request, in times of the floor. Drawn here, for a chart library would be larger than the bench. */

import type { Range } from './statistics.ts';
import { showRange } from './statistics.ts';

export interface Bar {
  readonly label: string;
  readonly range: Range;
  readonly isOurs: boolean;
}

const WIDTH = 860;
const LABEL_WIDTH = 350;
const VALUE_WIDTH = 130;
const ROW_HEIGHT = 24;
const BAR_HEIGHT = 14;
const TOP = 44;
const BOTTOM = 28;
const TICKS = [1, 2, 5, 10, 20, 50, 100];
const PLOT_WIDTH = WIDTH - LABEL_WIDTH - VALUE_WIDTH;

/** Readable on white, and on black where the reader prefers it. */
const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .small { font-size: 11px; fill: #59636e }
  .title { font-weight: 600 }
  .grid { stroke: #d1d9e0 }
  .bar { fill: #9aa4af }
  .ours { fill: #1a7f37 }
  .range { stroke: #1f2328; stroke-opacity: 0.6 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc }
    .small { fill: #9198a1 }
    .grid { stroke: #3d444d }
    .bar { fill: #656c76 }
    .ours { fill: #3fb950 }
    .range { stroke: #f0f6fc }
  }`;

const escapeText = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

/** Logarithmic: from what the floor costs to what the dearest costs is a long way. */
export function drawChart(title: string, bars: readonly Bar[]): string {
  const largest = Math.max(...bars.map(({ range }) => range.max));
  const end = TICKS.find((tick) => tick >= largest) ?? largest;
  // A bar of exactly the floor still has some length.
  const begin = 0.8;
  const x = (value: number): number => LABEL_WIDTH + (PLOT_WIDTH * Math.log(Math.max(value, begin) / begin)) / Math.log(end / begin);
  const height = TOP + bars.length * ROW_HEIGHT + BOTTOM;
  const bottom = height - BOTTOM;
  const at = (value: number): string => x(value).toFixed(1);
  const grid = TICKS.filter((tick) => tick <= end).map(
    (tick) =>
      `<line class="grid" x1="${at(tick)}" x2="${at(tick)}" y1="${TOP - 6}" y2="${bottom}"/>` +
      `<text class="small" x="${at(tick)}" y="${bottom + 16}" text-anchor="middle">${tick}x</text>`,
  );
  const rows = bars.map(({ label, range, isOurs }, index) => {
    const y = TOP + index * ROW_HEIGHT;
    const middle = y + BAR_HEIGHT / 2;
    return [
      `<text x="${LABEL_WIDTH - 10}" y="${middle + 4}" text-anchor="end">${escapeText(label)}</text>`,
      `<rect class="${isOurs ? 'ours' : 'bar'}" x="${LABEL_WIDTH}" y="${y}" width="${(x(range.median) - LABEL_WIDTH).toFixed(1)}" height="${BAR_HEIGHT}"/>`,
      `<line class="range" x1="${at(range.min)}" x2="${at(range.max)}" y1="${middle}" y2="${middle}"/>`,
      `<text class="small" x="${WIDTH - 4}" y="${middle + 4}" text-anchor="end">${showRange(range)}</text>`,
    ].join('');
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escapeText(title)}">
<style>${STYLE}
</style>
<text class="title" x="4" y="20">${escapeText(title)}</text>
${[...grid, ...rows].join('\n')}
</svg>
`;
}
