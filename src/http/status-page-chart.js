// @ts-check
/** The two charts of the status page: one path for each series, drawn anew each time. */
import { byId } from './status-page-elements.js';
import { percent, rate } from './status-page-text.js';

/** @import { HistoryPoint } from './status-history.ts' */

const [WIDTH, HEIGHT, SPAN_MS] = [480, 100, 600_000];

/** @param {number} agoMs */
const x = (agoMs) => WIDTH * (1 - agoMs / SPAN_MS);

/** @param {number} value */
const short = (value) => value.toFixed(1);

/** The next rounder number, so that the scale does not change all the time. @param {number} value */
export function ceiling(value) {
  if (value <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 5, 10].find((step) => step * power >= value) ?? 10) * power;
}

/** @param {string} id @param {string} path */
function draw(id, path) {
  byId(id).setAttribute('d', path);
}

/** One bar for each step. @param {readonly { readonly point: HistoryPoint; readonly from: number; readonly to: number }[]} bars 0 to 1 @param {number} stepMs */
function barsOf(bars, stepMs) {
  const width = short((WIDTH * stepMs) / SPAN_MS + 0.2);
  return bars
    .filter(({ from, to }) => to > from)
    .map(({ point, from, to }) => {
      const height = short((to - from) * HEIGHT);
      return `M${short(x(point.agoMs + stepMs))} ${short(HEIGHT * (1 - to))}h${width}v${height}h-${width}z`;
    })
    .join('');
}

/** @param {{ readonly stepMs: number; readonly points: readonly HistoryPoint[] }} history */
export function drawCalls({ stepMs, points }) {
  const shown = points.filter(({ agoMs }) => agoMs + stepMs <= SPAN_MS + stepMs);
  const most = Math.max(0, ...shown.map(({ perSecond }) => perSecond));
  const top = ceiling(most);
  const line = shown.map(({ agoMs, perSecond }, place) => {
    const y = short(HEIGHT * (1 - perSecond / top));
    return `${place === 0 ? 'M' : 'L'}${short(x(agoMs))} ${y}`;
  });
  const [first, last] = [shown[0], shown.at(-1)];
  draw('calls-line', line.join(''));
  draw('calls-area', first && last ? `${line.join('')}L${short(x(last.agoMs))} ${HEIGHT}L${short(x(first.agoMs))} ${HEIGHT}z` : '');
  const failed = shown.map((point) => ({ point, from: 0, to: (point.perSecond * point.failedShare) / top }));
  draw('calls-failed', barsOf(failed, stepMs));
  byId('calls-max').textContent = top.toLocaleString('en');
  const now = last?.perSecond ?? 0;
  byId('calls-chart').setAttribute('aria-label', `At most ${rate(most)} calls per second, now ${rate(now)}.`);
}

/** @param {{ readonly stepMs: number; readonly points: readonly HistoryPoint[] }} history */
export function drawReads({ stepMs, points }) {
  const stacks = points.map((point) => {
    const { redis, local, miss, bypass } = point.reads;
    const all = redis + local + miss + bypass;
    return { point, all, ends: [0, redis, redis + local, redis + local + miss, all].map((end) => (all === 0 ? 0 : end / all)) };
  });
  ['redis', 'local', 'miss', 'bypass'].forEach((name, place) => {
    const bars = stacks.map(({ point, ends }) => ({ point, from: ends[place] ?? 0, to: ends[place + 1] ?? 0 }));
    draw(`reads-${name}`, barsOf(bars, stepMs));
  });
  const all = stacks.reduce((sum, stack) => sum + stack.all, 0);
  const hits = points.reduce((sum, { reads }) => sum + reads.redis + reads.local, 0);
  byId('reads-chart').setAttribute('aria-label', all === 0 ? 'No reads yet.' : `${percent(hits, all)} of the reads came from the cache.`);
}
