import { v7 as uuidv7 } from 'uuid';
import { describe, expect, it } from 'vitest';
import { MessageStatus } from '../../gen/messaging/v1/message_pb.js';
import type { Store } from '../../src/domain/ports.ts';
import type { OutboundDraft } from '../../src/services/outbound-draft.ts';
import { openForAll } from '../support/store-and-reads.ts';
import {
  conversationBetween,
  draftBetween,
  draftOf,
  newPair,
  openStorage,
  type Pair,
  refused,
  reportOn,
  useCases,
} from '../support/use-cases.ts';

const storage = openForAll(openStorage);
const cases = () => useCases(storage);

const request = (draft: Partial<OutboundDraft>, requestId?: string) => ({ draft: draftOf(draft), requestId });

const messagesOf = async ({ ours }: Pair) =>
  (
    await storage.reads.listMessages(
      { conversationIds: [], statuses: [], messageTypes: [], failureReasons: [], address: ours },
      { size: 200 },
    )
  ).items;

describe('a request_id', () => {
  it('makes one message of fifty calls at once', async () => {
    const pair = newPair();
    const requestId = uuidv7();
    const sent = await Promise.all(Array.from({ length: 50 }, () => cases().send(draftBetween(pair), requestId)));
    expect(sent.filter(({ replayed }) => !replayed)).toHaveLength(1);
    expect(sent.filter(({ replayed }) => replayed)).toHaveLength(49);
    expect(new Set(sent.map(({ message }) => message.id)).size).toBe(1);
    expect(await messagesOf(pair)).toHaveLength(1);
    const conversation = await storage.reads.findConversation(sent[0]?.message.conversationId ?? '');
    expect(conversation.value).toMatchObject({ messageCount: 1n, lastSequence: 1n });
  });

  it('answers with the present state of the earlier message', async () => {
    const pair = newPair();
    const requestId = uuidv7();
    const { message } = await cases().send({ ...draftBetween(pair), metaData: { a: 1, b: { c: 2, d: 3 } } }, requestId);
    await cases().report(reportOn(message.id));
    const again = await cases().send({ ...draftBetween(pair), metaData: { b: { d: 3, c: 2 }, a: 1 } }, requestId);
    expect(again).toMatchObject({ replayed: true, message: { id: message.id, status: MessageStatus.DELIVERED } });
  });

  it('of one caller means nothing for another', async () => {
    const pair = newPair();
    const requestId = uuidv7();
    const [one, other] = [
      await cases().send(draftBetween(pair), requestId, 'one'),
      await cases().send(draftBetween(pair), requestId, 'other'),
    ];
    expect(other.replayed).toBe(false);
    expect(other.message.id).not.toBe(one.message.id);
  });

  it('cannot be used for other content', async () => {
    const pair = newPair();
    const requestId = uuidv7();
    const { message } = await cases().send(draftBetween(pair), requestId);
    const reuse = cases().send({ ...draftBetween(pair), body: 'something else' }, requestId);
    await expect(reuse).rejects.toEqual(refused('request_id_reused', { metadata: { request_id: requestId, message_id: message.id } }));
    expect(await messagesOf(pair)).toHaveLength(1);
  });

  it('of a call that failed can be used again', async () => {
    const pair = newPair();
    const requestId = uuidv7();
    await expect(cases().send({ ...draftBetween(pair), parentId: uuidv7() }, requestId)).rejects.toEqual(refused('message_not_found'));
    expect((await cases().send(draftBetween(pair), requestId)).replayed).toBe(false);
  });

  it('of a message that was deleted since is answered with message_not_found', async () => {
    const pair = newPair();
    const requestId = uuidv7();
    const { message } = await cases().send(draftBetween(pair), requestId);
    await cases().changeConversation.delete(message.conversationId, '', false);
    await expect(cases().send(draftBetween(pair), requestId)).rejects.toEqual(refused('message_not_found'));
  });
});

describe('BatchSendMessages', () => {
  it('answers in the order of the requests', async () => {
    const pairs = [newPair(), newPair(), newPair()].toReversed();
    const requests = [...pairs, ...pairs].map((pair, index) => request({ ...draftBetween(pair), body: `number ${index}` }));
    const sent = await cases().sendMessages(requests);
    expect(sent.map(({ message }) => message.body)).toEqual(requests.map(({ draft }) => draft.body));
    expect(sent.map(({ message }) => message.fromAddress)).toEqual(requests.map(({ draft }) => draft.fromAddress));
  });

  it('stores all or none', async () => {
    const [good, bad] = [newPair(), newPair()];
    const requestId = uuidv7();
    const batch = cases().sendMessages([
      request(draftBetween(good), requestId),
      request({ ...draftBetween(bad), conversationId: uuidv7() }),
    ]);
    await expect(batch).rejects.toEqual(refused('conversation_not_found'));
    expect(await messagesOf(good)).toEqual([]);
    expect((await cases().send(draftBetween(good), requestId)).replayed).toBe(false);
  });

  it('names the request that is wrong', async () => {
    const wrong = request({ toAddress: '12', path: 'requests[1].message' });
    await expect(cases().sendMessages([request(draftBetween(newPair())), wrong])).rejects.toEqual(
      refused('address_invalid', { metadata: { field: 'requests[1].message.to_address' } }),
    );
  });

  it('replays what was sent before and sends the rest', async () => {
    const pair = newPair();
    const [before, now] = [uuidv7(), uuidv7()];
    const earlier = await cases().send({ ...draftBetween(pair), body: 'before' }, before);
    const requests = [request({ ...draftBetween(pair), body: 'now' }, now), request({ ...draftBetween(pair), body: 'before' }, before)];
    const sent = await cases().sendMessages(requests);
    expect(sent.map(({ replayed }) => replayed)).toEqual([false, true]);
    expect(sent[1]?.message.id).toBe(earlier.message.id);
    const again = await cases().sendMessages(requests.toReversed());
    expect(again.map(({ message }) => message.id)).toEqual(sent.map(({ message }) => message.id).toReversed());
  });

  it('takes a hundred messages into one conversation', async () => {
    const pair = newPair();
    const sent = await cases().sendMessages(
      Array.from({ length: 100 }, (_, index) => request({ ...draftBetween(pair), body: `${index}` })),
    );
    const { value } = await storage.reads.findConversation(sent[0]?.message.conversationId ?? '');
    expect(value).toMatchObject({ messageCount: 100n, lastSequence: 100n });
  });

  it('never waits for another batch in a circle, whatever order and naming they use', async () => {
    let runs = 0;
    const store: Store = {
      transaction: (work, hooks) =>
        storage.store.transaction((tx) => {
          runs += 1;
          return work(tx);
        }, hooks),
    };
    const { sendMessages, createConversation } = useCases({ ...storage, store });
    const pairs = Array.from({ length: 6 }, newPair);
    const open = await Promise.all(pairs.map(async (pair) => (await createConversation(conversationBetween(pair), 'test')).conversation));
    runs = 0;
    const batches = Array.from({ length: 12 }, (_, batch) => {
      const turned = pairs.map((_pair, index) => (index * (batch % 2 === 0 ? 1 : 5) + batch) % pairs.length);
      return turned.map((index) => {
        const pair = pairs[index] ?? newPair();
        return request({ ...draftBetween(pair), conversationId: (index + batch) % 2 === 0 ? open[index]?.id : undefined }, uuidv7());
      });
    });
    const sent = await Promise.all(batches.map((requests) => sendMessages(requests)));
    expect(sent.flat()).toHaveLength(72);
    expect(runs).toBe(12);
    for (const { id } of open) expect((await storage.reads.findConversation(id)).value).toMatchObject({ messageCount: 12n });
  });

  it('with the same request_ids in another order, at once, sends each once', async () => {
    const pairs = Array.from({ length: 5 }, newPair);
    const requests = pairs.map((pair) => request(draftBetween(pair), uuidv7()));
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, index) => cases().sendMessages(index % 2 === 0 ? requests : requests.toReversed())),
    );
    expect(answers.flat().filter(({ replayed }) => !replayed)).toHaveLength(5);
    for (const pair of pairs) expect(await messagesOf(pair)).toHaveLength(1);
  });
});
