/** deploy/CAPACITY.md quotes bench/results: each number is the median of what its last column names, as precise as it is written. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const page = readFileSync('deploy/CAPACITY.md', 'utf8');

/** Each with the four columns of the tables that quote: what, number, unit, source. */
const quotes = [...page.matchAll(/^\| (.+?) \| ([\d.]+) \| (\S+) \| (\w[\w-]*\.json) (\S+) \|$/gm)].map(
  ([, what = '', number = '', , file = '', path = '']) => ({ what, number, file, path }),
);

/** Through lists by each of their items. */
function valuesAt(value: unknown, path: readonly string[]): readonly unknown[] {
  if (Array.isArray(value)) return value.flatMap((item) => valuesAt(item, path));
  const [name, ...rest] = path;
  if (name === undefined) return typeof value === 'object' && value !== null && 'median' in value ? [value.median] : [value];
  return valuesAt((value as Readonly<Record<string, unknown>>)[name], rest);
}

function medianAt(file: string, path: string): number {
  const results: unknown = JSON.parse(readFileSync(`bench/results/${file}`, 'utf8'));
  const values = valuesAt(results, path.split('.'))
    .map(Number)
    .toSorted((left, right) => left - right);
  return values[Math.trunc(values.length / 2)] ?? Number.NaN;
}

it('quotes every file of results that has numbers', () => {
  expect(new Set(quotes.map(({ file }) => file))).toEqual(
    new Set(['bench.json', 'delivery.json', 'growth.json', 'watchers.json', 'cache-cost.json']),
  );
  expect(quotes).toHaveLength(page.match(/^\| .+\.json .+\|$/gm)?.length ?? 0);
});

it.each(quotes)('$what: $number', ({ number, file, path }) => {
  const decimals = number.split('.')[1]?.length ?? 0;
  expect(medianAt(file, path).toFixed(decimals)).toBe(number);
});
