/** What `make bench-watchers` leaves behind for `make bench` to judge. */
import { existsSync, readFileSync } from 'node:fs';

export const WATCHERS_FILE = 'bench/results/watchers.json';

export interface WatchersResult {
  readonly at: string;
  /** RSS of each, above none, in KB: one figure for each number of watchers. */
  readonly kilobytes: readonly number[];
}

export function readWatchers(): WatchersResult | undefined {
  return existsSync(WATCHERS_FILE) ? (JSON.parse(readFileSync(WATCHERS_FILE, 'utf8')) as WatchersResult) : undefined;
}
