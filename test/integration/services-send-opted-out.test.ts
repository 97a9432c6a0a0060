import pg from 'pg';
import { v7 as uuidv7 } from 'uuid';
import { describe, expect, it } from 'vitest';
import { createManageSuppressions } from '../../src/services/manage-suppressions.ts';
import { openForAll, signal } from '../support/store-and-reads.ts';
import { until } from '../support/until.ts';
import { draftBetween, draftOf, inboundBetween, newPair, openStorage, type Pair, useCases } from '../support/use-cases.ts';

let storage: Awaited<ReturnType<typeof openStorage>>;
const stored = openForAll(async () => {
  storage = await openStorage();
  return storage;
});
const cases = () => useCases(stored);

const own = ({ theirs }: Pair) => storage.suppressions.findSuppressions('sms', theirs);
const say = (pair: Pair, body: string) => cases().receive(inboundBetween(pair, { body }));
const optedOut = expect.objectContaining({ name: 'DomainError', code: 'recipient_opted_out' });

describe('a message to somebody who has opted out', () => {
  const request = (pair: Pair, requestId: string | undefined, index: number) => {
    return { draft: draftOf({ ...draftBetween(pair), path: `requests[${index}].message` }), requestId };
  };
  const conversationsOf = async ({ theirs }: Pair) =>
    (await stored.reads.listConversations({ participant: theirs, statuses: [], unreadOnly: false }, { size: 10 })).items;

  it('is refused with the address and since when, and leaves nothing behind', async () => {
    const pair = newPair();
    const requestId = uuidv7();
    const { create, delete: lift } = createManageSuppressions({ ...storage, clock: { now: () => new Date() }, newId: uuidv7 });
    const name = { channel: 'sms', address: pair.theirs, fromAddress: '' } as const;
    await create(name);
    const [{ createdAt } = { createdAt: new Date(0) }] = await own(pair);
    await expect(cases().send(draftBetween(pair), requestId)).rejects.toMatchObject({
      code: 'recipient_opted_out',
      message: 'message.to_address: the recipient has opted out',
      metadata: { address: pair.theirs, since: createdAt.toISOString() },
      fields: [{ field: 'message.to_address' }],
    });
    expect(await conversationsOf(pair)).toEqual([]);
    await lift(name);
    expect((await cases().send(draftBetween(pair), requestId)).replayed).toBe(false);
  });

  it('is refused in a named conversation, too', async () => {
    const pair = newPair();
    const { message } = await cases().send(draftBetween(pair));
    await say(pair, 'STOP');
    const { conversationId } = message;
    await expect(cases().send({ ...draftBetween(pair), conversationId })).rejects.toEqual(optedOut);
  });

  it('that had been accepted before is still the answer to its request_id', async () => {
    const pair = newPair();
    const requestId = uuidv7();
    const { message } = await cases().send(draftBetween(pair), requestId);
    await say(pair, 'STOP');
    expect(await cases().send(draftBetween(pair), requestId)).toMatchObject({ replayed: true, message: { id: message.id } });
    await expect(cases().send(draftBetween(pair), uuidv7())).rejects.toEqual(optedOut);
    const batch = await cases().sendMessages([request(newPair(), undefined, 0), { ...request(pair, requestId, 1) }]);
    expect(batch.map(({ replayed }) => replayed)).toEqual([false, true]);
  });

  it('refuses its whole batch, which names every such request, the first one with its facts', async () => {
    const pairs = Array.from({ length: 6 }, newPair);
    const [, second, , , fifth] = pairs.toReversed();
    const requests = pairs.toReversed().map((pair, index) => request(pair, uuidv7(), index));
    for (const pair of [fifth, second]) if (pair !== undefined) await say(pair, 'STOP');
    let counted = 0;
    const refused = useCases({ ...stored, onSuppressed: () => (counted += 1) }).sendMessages(requests);
    await expect(refused).rejects.toMatchObject({
      code: 'recipient_opted_out',
      metadata: { address: second?.theirs },
      fields: [{ field: 'requests[1].message.to_address' }, { field: 'requests[4].message.to_address' }],
    });
    expect(counted).toBe(2);
    for (const pair of pairs) expect(await conversationsOf(pair)).toHaveLength(pair === second || pair === fifth ? 1 : 0);
    const others = requests.filter((_, index) => index !== 1 && index !== 4);
    expect((await cases().sendMessages(others)).every(({ replayed }) => !replayed)).toBe(true);
  });

  it('is refused when it waits for the conversation in which STOP is just being stored', async () => {
    const pair = newPair();
    await cases().send(draftBetween(pair));
    const observer = new pg.Client({ connectionString: storage.url });
    await observer.connect();
    const waiting = `select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`;
    const stopped = signal();
    const stopping = useCases({
      reads: stored.reads,
      store: {
        transaction: (work, around) =>
          stored.store.transaction(async (tx) => {
            const done = await work(tx);
            stopped.give();
            await until('a message waits', async () => (await observer.query(waiting)).rowCount === 1);
            return done;
          }, around),
      },
    }).receive(inboundBetween(pair, { body: 'STOP' }));
    await stopped.given;
    await expect(cases().send(draftBetween(pair))).rejects.toEqual(optedOut);
    await stopping;
    await observer.end();
  });
});
