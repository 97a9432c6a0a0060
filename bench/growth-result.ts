/** What `make bench-growth` leaves behind for `make bench` to judge. */
import { existsSync, readFileSync } from 'node:fs';

export const GROWTH_FILE = 'bench/results/growth.json';

export interface Growth {
  readonly date: string;
  readonly command: string;
  readonly versions: Readonly<Record<string, string>>;
  /** CPU of a hit, most rows against fewest, by round. */
  readonly rows: readonly number[];
  /** The same with hits on as many of them as fit into Redis. */
  readonly spreadRows: readonly number[];
  /** CPU of a hit, most connections against one, by round. */
  readonly connections: readonly number[];
  readonly idleConnectionsMb: readonly number[];
  /** By what was measured, one figure a round. */
  readonly cpuUs: Readonly<Record<string, readonly number[]>>;
}

export function readGrowth(): Growth | undefined {
  return existsSync(GROWTH_FILE) ? (JSON.parse(readFileSync(GROWTH_FILE, 'utf8')) as Growth) : undefined;
}
