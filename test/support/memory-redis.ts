/** Redis in memory, as far as the cache asks of it: test/contract/cell-commands.test.ts holds it against a real one. */
import type { CellCommands } from '../../src/cache/cell-commands.ts';
import type { RedisConnection } from '../../src/cache/redis.ts';
import type { Watermark, WatermarkCommands } from '../../src/cache/watermark.ts';
import * as table from './cell-table.ts';

/** What a step has to wait for before it goes on; a scheduler decides when. */
export type Pause = (label: string) => Promise<unknown>;

export interface MemoryRedis {
  readonly connection: Pick<RedisConnection, 'commands' | 'generation' | 'runIds' | 'scan'>;
  /** As latin1 text, one character a byte. */
  readonly cells: Map<string, string>;
  /** True while a watermark of this very process stands. */
  isTrusted(): boolean;
  /** Another process with the cells of an earlier one; connections are lost. */
  restart(cells: ReadonlyMap<string, string>): void;
}

type Commands = CellCommands & WatermarkCommands;

const text = (value: Buffer): string => value.toString('latin1');
const bytes = (cell: string | undefined): Buffer | null => (cell === undefined ? null : Buffer.from(cell, 'latin1'));

/** `pause` runs before each command has its effect, and again before its answer arrives. Nothing expires by itself. */
export function createMemoryRedis(pause: Pause = async () => undefined): MemoryRedis {
  const cells = new Map<string, string>();
  let process = 1;
  let watermark: Watermark | undefined;

  async function command<Reply>(label: string, effect: () => Reply): Promise<Reply> {
    const asked = process;
    await pause(`${label} on its way`);
    if (asked !== process) throw new Error('Connection is closed.');
    const reply = effect();
    await pause(`${label} on its way back`);
    if (asked !== process) throw new Error('Connection is closed.');
    return reply;
  }

  function put(key: string, cell: string | undefined): void {
    if (cell === undefined) cells.delete(key);
    else cells.set(key, cell);
  }

  function apply<Outcome extends string>(key: string, operation: (cell: string | undefined) => table.Applied<Outcome>): Outcome {
    const { cell, outcome } = operation(cells.get(key));
    put(key, cell);
    return outcome;
  }

  function show(published: Watermark | undefined): void {
    watermark = published;
  }

  const commands: Commands = {
    get: (key) => command('get', () => bytes(cells.get(key))),
    getMany: (keys) => command('get', () => keys.map((key) => bytes(cells.get(key)))),
    lease: (key, token) =>
      command('lease', () => {
        const before = cells.get(key);
        return apply(key, (cell) => table.lease(cell, token)) === 'taken' ? null : bytes(before);
      }),
    fill: (key, token, value) => command('fill', () => apply(key, (cell) => table.fill(cell, token, text(value))) === 'filled'),
    release: (key, token) => command('release', () => void apply(key, (cell) => table.release(cell, token))),
    mark: (key, token) =>
      command('mark', () => {
        const wanted = /^[VL]:/.test(cells.get(key) ?? '');
        apply(key, (cell) => table.mark(cell, token));
        return wanted;
      }),
    settle: (key, token, version, value) =>
      command('settle', () => {
        const outcome = apply(key, (cell) => table.settle(cell, token, version, value && text(value.cell)));
        return ({ set: 'stored', deleted: 'dropped', left: 'left' } as const)[outcome];
      }),
    bump: (key, version) => command('bump', () => apply(key, (cell) => table.bump(cell, version)) !== 'left'),
    refresh: (key, version, value) => command('refresh', () => apply(key, (cell) => table.refresh(cell, version, text(value))) === 'set'),
    redisTimeMs: () => command('time', () => 0),
    publishWatermark: (_key, published) => command('publish', () => show(published)),
    dropWatermark: () => command('drop watermark', () => show(undefined)),
    findWatermark: () => command('find watermark', () => watermark && { ...watermark, ttlMs: 3_000 }),
  };

  return {
    cells,
    connection: {
      commands,
      generation: () => process,
      runIds: () => command('info', () => `run-${process}`),
      async *scan(pattern) {
        const start = pattern.replace(/\*$/, '');
        yield await command('scan', () => [...cells.keys()].filter((key) => key.startsWith(start)));
      },
    },
    isTrusted: () => watermark?.runIds === `run-${process}`,
    restart(earlier) {
      process += 1;
      cells.clear();
      for (const [key, cell] of earlier) cells.set(key, cell);
    },
  };
}
