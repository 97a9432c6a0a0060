import { describe, expect, it } from 'vitest';
import { createSelfCheck } from '../../src/cache/self-check.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { createMemoryRedis } from '../support/memory-redis.ts';

interface Row {
  readonly version: number;
  readonly body: string;
}

const cellOf = ({ version, body }: Row): string => `V:${version}:${body}`;

/** A hit on `cached` is checked while PostgreSQL has `row`; `meanwhile` happens before it looks again. */
async function check(cached: Row, row: Row | undefined, meanwhile: (cells: Map<string, string>) => void = () => undefined) {
  const { cells, connection } = createMemoryRedis();
  cells.set('k', cellOf(cached));
  const metrics = createMetrics();
  const selfCheck = createSelfCheck<Row>({
    rate: 0.01,
    random: () => 0.5,
    codec: { equals: (left, right) => left.body === right.body },
    versionOf: ({ version }) => version,
    keyOf: () => 'k',
    loads: { load: async () => row },
    commands: connection.commands,
    trust: { ticket: () => 1 },
    wait: async () => meanwhile(cells),
    metrics,
    log: createLog({ level: 'silent' }),
  });
  await selfCheck.run('id', cached.version, cached, Buffer.from(cellOf(cached)));
  const { text } = await metrics.exposition();
  const result = /cache_verify_total\{result="(\w+)"\} 1/.exec(text)?.[1];
  return { result, cell: cells.get('k') };
}

describe('the self-check', () => {
  const one = { version: 1, body: 'one' };
  const two = { version: 2, body: 'two' };

  it('is content with an entry that is the row', async () => {
    expect(await check(one, one)).toEqual({ result: 'match', cell: cellOf(one) });
  });

  it('finds an entry with the right version and another content, and drops it', async () => {
    expect(await check(one, { ...one, body: 'other' })).toEqual({ result: 'mismatch', cell: undefined });
  });

  it('finds an entry that stays older than its row, and drops it', async () => {
    expect(await check(one, two)).toEqual({ result: 'mismatch', cell: undefined });
  });

  it('finds an entry of a row that is gone, and drops it', async () => {
    expect(await check(one, undefined)).toEqual({ result: 'mismatch', cell: undefined });
  });

  it('takes a writer who came in between for what it is', async () => {
    const settled = (cells: Map<string, string>) => void cells.set('k', cellOf(two));
    expect(await check(one, two, settled)).toEqual({ result: 'superseded', cell: cellOf(two) });
    const dropped = (cells: Map<string, string>) => void cells.delete('k');
    expect(await check(one, two, dropped)).toEqual({ result: 'superseded', cell: undefined });
  });

  it('is due for its share of hits', () => {
    const share = (rate: number) => {
      let next = 0;
      const random = () => (next++ % 1_000) / 1_000;
      const { isDue } = createSelfCheck<Row>({ rate, random } as Parameters<typeof createSelfCheck<Row>>[0]);
      return Array.from({ length: 1_000 }, isDue).filter(Boolean).length;
    };
    expect([share(0), share(0.01), share(1)]).toEqual([0, 10, 1_000]);
  });
});
