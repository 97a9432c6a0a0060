import type { Random } from '../support/seeded-random.ts';
import type { History } from './history.ts';
import type { Population } from './population.ts';
import type { Servers, Stack } from './stack.ts';
import type { Counts } from './tally.ts';

/** All that a scenario has to do with. */
export interface World {
  readonly servers: Servers;
  readonly stack: Stack;
  readonly population: Population;
  readonly history: History;
  readonly counts: Counts;
  readonly random: Random;
  /** Monotonic, in ms; one clock for all clients, which live in this process. */
  readonly nowMs: () => number;
  /** For what is not a verdict but worth knowing. */
  readonly note: (text: string) => void;
}
