import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { FailureReason, MessageStatus } from '../../gen/messaging/v1/message_pb.js';
import { accepted, type DispatchWorld, openDispatchWorld, policy, transient, unknown } from '../support/dispatch-world.ts';
import { draftBetween, newPair, type Pair, refused, reportOn } from '../support/use-cases.ts';

let world: DispatchWorld;
beforeAll(async () => {
  world = await openDispatchWorld();
});
afterAll(() => world?.[Symbol.asyncDispose]());
beforeEach(() => world.reset());

const send = async (pair: Pair = newPair(), body = 'hello') => (await world.cases.send({ ...draftBetween(pair), body })).message;
const statusOf = async (id: string) => (await world.cases.messages.get(id, { conversation: false, events: false })).value.message;
const asked = () => world.provider.submitted.length;

/** A process that is killed while the provider is being asked. */
async function crashDuringAttempt(id: string): Promise<void> {
  world.provider.answers(() => Promise.reject(new Error('killed')));
  await expect(world.dispatch(id)).rejects.toThrow('killed');
  // The queue gives the job of a process that is gone to another one.
  await world.sql.query('update graphile_worker._private_jobs set locked_at = null, locked_by = null');
}

async function windowEnds(): Promise<void> {
  for (let waits = 0; waits < 6; waits += 1) {
    world.pass(policy.callbackWaitMs);
    await world.runDue();
  }
}

describe('an attempt whose answer is lost', () => {
  it('is never repeated: FAILED with OUTCOME_UNKNOWN when nobody can tell', async () => {
    const { id } = await send();
    world.provider.answers(unknown);
    world.provider.knows({ kind: 'unavailable' });
    await world.runDue();
    expect(await statusOf(id)).toMatchObject({ status: MessageStatus.PENDING, attemptCount: 1 });
    const before = asked();
    await windowEnds();
    expect(asked()).toBe(before);
    expect(await statusOf(id)).toMatchObject({
      status: MessageStatus.FAILED,
      failure: { reason: FailureReason.OUTCOME_UNKNOWN, retryable: false },
    });
    expect(await world.attempts(id)).toEqual([{ attempt: 1, outcome: 'given_up' }]);
    expect(await world.jobs()).toEqual([]);
    expect(world.deadLetters).toEqual(['outcome_unknown']);
  });

  it('is settled by a report, before anybody is asked', async () => {
    const { id } = await send();
    world.provider.answers(unknown);
    await world.runDue();
    const lookups = world.provider.lookedUp.length;
    await world.cases.report(reportOn(id, { attempt: 1, providerMessageId: 'SM1001', providerStatus: 'sent' }));
    await windowEnds();
    expect(world.provider.lookedUp).toHaveLength(lookups);
    expect(await statusOf(id)).toMatchObject({ status: MessageStatus.SENT, providerMessageId: 'SM1001' });
    expect(await world.attempts(id)).toEqual([{ attempt: 1, outcome: 'accepted' }]);
  });

  it('is settled by asking the provider, after waiting for a report', async () => {
    const { id } = await send();
    world.provider.answers(unknown);
    await world.runDue();
    const lookups = world.provider.lookedUp.length;
    world.pass(policy.callbackWaitMs - 1);
    await world.runDue();
    expect(world.provider.lookedUp).toHaveLength(lookups);
    world.provider.knows({ kind: 'found', by: 'content', providerMessageIds: ['SM1002'] });
    world.pass(1);
    await world.runDue();
    expect(await statusOf(id)).toMatchObject({ status: MessageStatus.SENT, providerMessageId: 'SM1002' });
  });

  it('is not taken for another message with the same words', async () => {
    const pair = newPair();
    world.provider.answers(accepted('SM1003'));
    const first = await send(pair, 'same words');
    await world.runDue();
    world.provider.answers(unknown);
    const second = await send(pair, 'same words');
    await world.runDue();
    world.provider.knows({ kind: 'found', by: 'content', providerMessageIds: ['SM1003', 'SM1004'] });
    world.pass(policy.callbackWaitMs);
    await world.runDue();
    expect(await statusOf(first.id)).toMatchObject({ providerMessageId: 'SM1003' });
    expect(await statusOf(second.id)).toMatchObject({ providerMessageId: 'SM1004', status: MessageStatus.SENT });
  });

  it('is not taken for one with the same words whose answer is not known yet', async () => {
    const pair = newPair();
    world.provider.answers(unknown);
    const first = await send(pair, 'same words');
    await world.runDue();
    // In a conversation of its own it does not wait for the first one.
    await world.cases.changeConversation.close(first.conversationId, '');
    const second = await send(pair, 'same words');
    await crashDuringAttempt(second.id);
    world.provider.knows({ kind: 'found', by: 'content', providerMessageIds: ['SM1010'] });
    world.pass(policy.callbackWaitMs);
    await world.dispatch(first.id);
    expect(await statusOf(first.id)).toMatchObject({ status: MessageStatus.PENDING });
    await world.cases.report(reportOn(second.id, { attempt: 1, providerMessageId: 'SM1010', providerStatus: 'queued' }));
    await windowEnds();
    expect(await statusOf(second.id)).toMatchObject({ status: MessageStatus.SENT, providerMessageId: 'SM1010' });
    expect(await statusOf(first.id)).toMatchObject({ status: MessageStatus.FAILED, failure: { reason: FailureReason.OUTCOME_UNKNOWN } });
  });

  it('cannot be canceled, and is retried only by force', async () => {
    const { id } = await send();
    world.provider.answers(unknown);
    await world.runDue();
    await expect(world.cases.changeMessage.cancel(id)).rejects.toEqual(refused('status_forbids'));
    await windowEnds();
    await expect(world.cases.changeMessage.retry(id, false, undefined, 'test')).rejects.toEqual(refused('not_retryable'));
    await world.cases.changeMessage.retry(id, true, undefined, 'test');
    world.provider.answers(accepted('SM1005'));
    await world.runDue();
    expect(await statusOf(id)).toMatchObject({ status: MessageStatus.SENT, providerMessageId: 'SM1005', attemptCount: 2 });
  });

  it('yields to a report that comes after it was given up', async () => {
    const { id } = await send();
    world.provider.answers(unknown);
    await world.runDue();
    await windowEnds();
    await world.cases.report(reportOn(id, { attempt: 1, providerMessageId: 'SM1006', providerStatus: 'delivered' }));
    expect(await statusOf(id)).toMatchObject({ status: MessageStatus.DELIVERED, providerMessageId: 'SM1006' });
    expect((await statusOf(id)).failure).toBeUndefined();
    expect(await world.attempts(id)).toEqual([{ attempt: 1, outcome: 'accepted' }]);
  });
});

describe('two workers that have the same job', () => {
  it('ask the provider once', async () => {
    const { id } = await send();
    const release = Promise.withResolvers<void>();
    const asked = world.provider.submitted.length;
    world.provider.answers(async () => {
      await release.promise;
      return accepted()();
    });
    const both = [world.dispatch(id), world.dispatch(id)];
    await Promise.race(both);
    release.resolve();
    await Promise.all(both);
    expect(world.provider.submitted).toHaveLength(asked + 1);
    expect(await world.attempts(id)).toEqual([{ attempt: 1, outcome: 'accepted' }]);
  });
});

describe('a process that is killed while it asks', () => {
  it('leaves an attempt that nobody repeats', async () => {
    const { id } = await send();
    await crashDuringAttempt(id);
    const before = asked();
    world.provider.answers(accepted());
    // Another process may only be slow: its time is waited for.
    await world.runDue();
    expect(await world.attempts(id)).toEqual([{ attempt: 1, outcome: 'running' }]);
    world.pass(policy.callMs);
    await world.runDue();
    expect(await world.attempts(id)).toEqual([{ attempt: 1, outcome: 'unknown' }]);
    await windowEnds();
    expect(asked()).toBe(before);
    expect(await statusOf(id)).toMatchObject({ status: MessageStatus.FAILED, failure: { reason: FailureReason.OUTCOME_UNKNOWN } });
  });

  it('has its message settled by the report, when the provider had taken it', async () => {
    const { id } = await send();
    await crashDuringAttempt(id);
    await world.cases.report(reportOn(id, { attempt: 1, providerMessageId: 'SM1007', providerStatus: 'queued' }));
    await windowEnds();
    expect(await statusOf(id)).toMatchObject({ status: MessageStatus.SENT, providerMessageId: 'SM1007' });
  });
});

describe('messages of one conversation', () => {
  it('leave in the order they were accepted, whatever happens to the first', async () => {
    const pair = newPair();
    const sent: string[] = [];
    const taking = async ({ body }: { readonly body: string }) => {
      sent.push(body);
      return accepted()();
    };
    world.provider.answers(transient(), taking);
    for (const body of ['one', 'two', 'three']) await send(pair, body);
    await world.runDue();
    expect(sent).toEqual([]);
    world.pass(60_000);
    await world.runDue();
    expect(sent).toEqual(['one', 'two', 'three']);
  });

  it('wait for one whose answer was lost', async () => {
    const pair = newPair();
    world.provider.answers(unknown, accepted());
    const first = await send(pair, 'one');
    const second = await send(pair, 'two');
    await world.runDue();
    expect(await statusOf(second.id)).toMatchObject({ status: MessageStatus.PENDING, attemptCount: 0 });
    await world.cases.report(reportOn(first.id, { attempt: 1, providerMessageId: 'SM1008', providerStatus: 'sent' }));
    await world.runDue();
    expect(await statusOf(second.id)).toMatchObject({ status: MessageStatus.SENT });
  });

  it('go on when the first is canceled, expires or fails', async () => {
    const pair = newPair();
    world.provider.answers(transient(), accepted());
    const first = await send(pair, 'one');
    const second = await send(pair, 'two');
    await world.runDue();
    await world.cases.changeMessage.cancel(first.id);
    await world.runDue();
    expect(await statusOf(second.id)).toMatchObject({ status: MessageStatus.SENT });
  });

  it('go on when the first was settled by hand', async () => {
    const pair = newPair();
    world.provider.answers(transient(), accepted());
    const first = await send(pair, 'one');
    const second = await send(pair, 'two');
    await world.runDue();
    await world.sql.query(`update messages set status = 'failed' where id = $1`, [first.id]);
    await world.runDue();
    expect(await statusOf(second.id)).toMatchObject({ status: MessageStatus.PENDING });
    world.pass(60_000);
    await world.runDue();
    expect(await statusOf(second.id)).toMatchObject({ status: MessageStatus.SENT });
  });

  it('do not wait for one that is to be sent later', async () => {
    const pair = newPair();
    world.provider.answers(accepted());
    await world.cases.send({ ...draftBetween(pair), sendAt: new Date(world.now().getTime() + 3_600_000) });
    const second = await send(pair, 'now');
    await world.runDue();
    expect(await statusOf(second.id)).toMatchObject({ status: MessageStatus.SENT });
  });
});
