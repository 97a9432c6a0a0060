/** A sample of hits is read again from PostgreSQL and compared: in production too, the cache has to prove that it tells the truth. */
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { CellCodec } from './cell.ts';
import { ANY_VERSION, type CellCommands } from './cell-commands.ts';
import type { LoadQueue } from './load-queue.ts';
import type { Trust } from './trust.ts';

export interface SelfCheck<View> {
  isDue(): boolean;
  /** `bytes`: the cell that was read. */
  run(id: string, version: number, view: View, bytes: Buffer): Promise<void>;
}

export interface SelfCheckOptions<View> {
  /** Share of hits, 0 to 1. */
  readonly rate: number;
  readonly random: () => number;
  readonly codec: Pick<CellCodec<View>, 'equals'>;
  readonly versionOf: (view: View) => number;
  readonly keyOf: (id: string) => string;
  readonly loads: Pick<LoadQueue<View>, 'load'>;
  readonly commands: Pick<CellCommands, 'get' | 'bump'>;
  readonly trust: Pick<Trust, 'ticket'>;
  readonly wait: (ms: number) => Promise<void>;
  readonly metrics: Metrics;
  readonly log: Log;
}

/** A writer that changes the row meanwhile has settled by then, and the relay has told of SQL typed by hand. */
const CONFIRM_AFTER_MS = 1_000;

export function createSelfCheck<View>(options: SelfCheckOptions<View>): SelfCheck<View> {
  const { rate, random, codec, versionOf, keyOf, loads, commands, trust, wait, metrics, log } = options;

  async function verdict(id: string, version: number, view: View, bytes: Buffer): Promise<'match' | 'mismatch' | 'superseded'> {
    const loaded = await loads.load(id);
    if (loaded !== undefined && versionOf(loaded) === version) return codec.equals(view, loaded) ? 'match' : 'mismatch';
    await wait(CONFIRM_AFTER_MS);
    const cell = await commands.get(keyOf(id));
    return cell?.equals(bytes) === true && trust.ticket() !== undefined ? 'mismatch' : 'superseded';
  }

  return {
    isDue: () => rate > 0 && random() < rate,
    async run(id, version, view, bytes) {
      const found = await verdict(id, version, view, bytes);
      metrics.cacheVerified(found);
      if (found !== 'mismatch') return;
      log.error({ key: keyOf(id), version }, 'a cached entry differs from its row; dropping it');
      await commands.bump(keyOf(id), ANY_VERSION);
    },
  };
}
