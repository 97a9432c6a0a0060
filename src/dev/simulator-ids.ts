/** Identifiers in the forms providers give them, from the simulator's own random numbers, so that a seed repeats them. */
import { createHash } from 'node:crypto';
import type { Random } from './seeded-random.ts';

const DIGITS_PER_DRAW = 8;

export function hexId(random: Random, digits: number): string {
  let id = '';
  while (id.length < digits) {
    id += Math.floor(random() * 2 ** 32)
      .toString(16)
      .padStart(DIGITS_PER_DRAW, '0');
  }
  return id.slice(0, digits);
}

/** Twilio's: a prefix of two letters and 32 hexadecimal digits. */
export function sid(random: Random, prefix: 'SM' | 'MM' | 'RQ'): string {
  return prefix + hexId(random, 32);
}

/** SendGrid's: 22 characters of base64url, for X-Message-Id and sg_event_id. */
export function shortId(random: Random): string {
  return Buffer.from(hexId(random, 32), 'hex').toString('base64url');
}

/** Always the same for the same names. What is named after acceptance takes no random number: callbacks must not change what the next request meets. */
export function derivedId(...names: readonly (string | number)[]): string {
  return createHash('md5').update(names.join('/')).digest('base64url');
}
