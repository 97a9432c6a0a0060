import { v7 as uuidv7 } from 'uuid';
import { describe, expect, it } from 'vitest';
import { openDatabase } from '../../src/db/database.ts';
import { type Channel, storedAddress } from '../../src/domain/address.ts';
import { newSuppression, type SuppressionFields } from '../../src/domain/suppression.ts';
import { allPages } from '../support/store-and-reads.ts';
import { type OpenedStorage, openStorage } from '../support/use-cases.ts';

const DAY_MS = 86_400_000;
const first = Date.parse('2026-01-01T00:00:00.001Z');

function suppression(text: string, { channel = 'sms' as Channel, day = 0, from = '' } = {}): SuppressionFields {
  const pair = { theirs: storedAddress(text, channel), ours: from === '' ? undefined : storedAddress(from, channel) };
  return newSuppression({ id: uuidv7(), source: 'manual', pair, messageId: null, at: new Date(first + day * DAY_MS) });
}

async function addAll({ store }: OpenedStorage, all: readonly SuppressionFields[]): Promise<void> {
  await store.transaction(async (tx) => {
    for (const fields of all) await tx.suppress(fields);
  });
}

const ids = (all: readonly SuppressionFields[]) => all.map(({ id }) => id);

describe('the suppressions', () => {
  it('of one address are found with every sender, oldest first, and no others', async () => {
    await using storage = await openStorage();
    const [own, general] = [suppression('+14155550001', { day: 1, from: '+14155552671' }), suppression('+14155550001', { day: 2 })];
    await addAll(storage, [general, own, suppression('+14155550002'), suppression('+14155550001', { channel: 'email' })]);
    expect(await storage.suppressions.findSuppressions('sms', '+14155550001')).toEqual([own, general]);
    expect(await storage.suppressions.findSuppressions('sms', '+14155550003')).toEqual([]);
    expect(await storage.suppressions.findSuppression('sms', '+14155550001', '+14155552671')).toEqual(own);
    expect(await storage.suppressions.findSuppression('sms', '+14155550001', '+14155552699')).toEqual(general);
  });

  it('are listed newest first, those of one time too, page by page, of one channel or of all', async () => {
    await using storage = await openStorage();
    const all = Array.from({ length: 23 }, (_, index) =>
      // Three of each day.
      suppression(`a${index}@example.com`, { channel: index % 3 === 0 ? 'sms' : 'email', day: Math.trunc(index / 3) }),
    );
    await addAll(storage, all);
    const newestFirst = all.toSorted((left, right) => {
      return right.createdAt.getTime() - left.createdAt.getTime() || (left.id < right.id ? 1 : -1);
    });
    for (const size of [1, 4, 23, 24]) {
      const list = (channel: Channel | undefined) => allPages((page) => storage.suppressions.listSuppressions(channel, page), size);
      expect(ids(await list(undefined))).toEqual(ids(newestFirst));
      for (const of of ['sms', 'email'] as const) {
        expect(ids(await list(of))).toEqual(ids(newestFirst.filter(({ channel }) => channel === of)));
      }
    }
  });

  it('that come while pages are read neither repeat nor skip what was there', async () => {
    await using storage = await openStorage();
    const all = Array.from({ length: 10 }, (_, index) => suppression(`+1415555${1_000 + index}`, { day: index }));
    await addAll(storage, all);
    let added = 0;
    const more = () => addAll(storage, [suppression(`+1415556${1_000 + ++added}`, { day: 100 + added })]);
    const seen = await allPages((page) => storage.suppressions.listSuppressions('sms', page), 3, more);
    expect(ids(seen)).toEqual(ids(all.toReversed()));
  });

  it('are no empty answer when PostgreSQL is not there', async () => {
    const url = 'postgresql://nobody:nothing@127.0.0.1:1/nothing';
    await using database = await openDatabase({ url, poolMax: 1, statementTimeoutMs: 60_000, connectTimeoutMs: 60_000 });
    const unavailable = expect.objectContaining({ name: 'DomainError', code: 'storage_unavailable' });
    await expect(database.suppressions.findSuppressions('sms', 'a')).rejects.toEqual(unavailable);
    await expect(database.suppressions.findSuppression('sms', 'a', 'b')).rejects.toEqual(unavailable);
    await expect(database.suppressions.listSuppressions(undefined, { size: 1 })).rejects.toEqual(unavailable);
  });
});
