/** Random choices that a seed repeats. */

import type { Random } from '../../src/dev/seeded-random.ts';

export { type Random, seededRandom } from '../../src/dev/seeded-random.ts';

/** A seed of its own for each of several users of one. */
export function seedOf(seed: number, ...names: readonly (string | number)[]): number {
  let hash = seed >>> 0;
  for (const character of names.join('/')) hash = Math.imul(hash ^ character.charCodeAt(0), 16_777_619) >>> 0;
  return hash;
}

/** Throws for an empty list. */
export function pick<Item>(random: Random, items: readonly Item[]): Item {
  const item = items[Math.floor(random() * items.length)];
  if (item === undefined) throw new Error('nothing to pick from');
  return item;
}

/** A whole number from `least` to `most`. */
export function between(random: Random, least: number, most: number): number {
  return least + Math.floor(random() * (most - least + 1));
}
