/** Widens the gaps in which races live, and dies in one of them when told to. The same for every cache that is put on top. */
import type { AroundCommit, Reads, Store } from '../../src/domain/ports.ts';
import { between, type Random } from '../support/seeded-random.ts';

export interface PauseOptions {
  /** Of a pause at each place. */
  readonly probability: number;
  readonly random: Random;
  readonly wait: (ms: number) => Promise<void>;
  /** Runs when COMMIT has succeeded and nothing else has been done; the pause there follows. */
  readonly afterCommit: () => void;
}

const PAUSE_MS = { least: 5, most: 30 };
/** Now and then one takes so long that a whole write fits in. */
const LONG_PAUSE_MS = { least: 100, most: 300 };
const LONG_SHARE = 0.1;

interface PausedDatabase {
  readonly reads: Reads;
  readonly store: Store;
}

/** Pauses after rows were loaded, before anybody can cache them; before COMMIT, when everything else is done; and after it. */
export function withPauses({ reads, store }: PausedDatabase, { probability, random, wait, afterCommit }: PauseOptions): PausedDatabase {
  const pause = async (): Promise<void> => {
    if (random() >= probability) return;
    const { least, most } = random() < LONG_SHARE ? LONG_PAUSE_MS : PAUSE_MS;
    await wait(between(random, least, most));
  };
  const paused =
    <Arguments extends readonly unknown[], Result>(load: (...args: Arguments) => Promise<Result>) =>
    async (...args: Arguments): Promise<Result> => {
      const loaded = await load(...args);
      await pause();
      return loaded;
    };
  const around =
    (inner: AroundCommit | undefined): AroundCommit =>
    async (changed, tx) => {
      const after = await inner?.(changed, tx);
      await pause();
      return async () => {
        afterCommit();
        await pause();
        await after?.();
      };
    };
  return {
    reads: {
      ...reads,
      findMessage: paused(reads.findMessage),
      findMessages: paused(reads.findMessages),
      findConversation: paused(reads.findConversation),
      findConversations: paused(reads.findConversations),
    },
    store: { transaction: (work, aroundCommit) => store.transaction(work, around(aroundCommit)) },
  };
}
