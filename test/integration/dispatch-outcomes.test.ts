import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { FailureReason, MessageEvent_Type, MessageStatus } from '../../gen/messaging/v1/message_pb.js';
import { accepted, type DispatchWorld, openDispatchWorld, rejected, transient } from '../support/dispatch-world.ts';
import { draftBetween, inboundBetween, newPair, refused, reportOn } from '../support/use-cases.ts';

let world: DispatchWorld;
beforeAll(async () => {
  world = await openDispatchWorld();
});
afterAll(() => world?.[Symbol.asyncDispose]());
beforeEach(() => world.reset());

const send = async (draft: Parameters<DispatchWorld['cases']['send']>[0] = {}) =>
  (await world.cases.send({ ...draftBetween(newPair()), ...draft })).message;

async function historyOf(id: string) {
  const { message, events } = (await world.cases.messages.get(id, { conversation: false, events: true })).value;
  return { message, types: (events ?? []).map(({ type }) => type), events: events ?? [] };
}

describe('a message that is dispatched', () => {
  it('is SENT when the provider takes it, with the id that the provider gave it', async () => {
    const { id } = await send();
    world.provider.answers(accepted('SM0001'));
    await world.runDue();
    const { message, types, events } = await historyOf(id);
    expect(message).toMatchObject({ status: MessageStatus.SENT, providerMessageId: 'SM0001', attemptCount: 1 });
    expect(message.nextAttemptAt).toBeUndefined();
    expect(types).toEqual([MessageEvent_Type.CREATED, MessageEvent_Type.ATTEMPT_STARTED, MessageEvent_Type.ACCEPTED]);
    expect(events.map(({ attempt }) => attempt)).toEqual([0, 1, 1]);
    expect(await world.attempts(id)).toEqual([{ attempt: 1, outcome: 'accepted' }]);
    expect(await world.jobs()).toEqual([]);
  });

  it('is handed over as it was accepted, with the time that is left', async () => {
    const pair = newPair();
    const { id } = await send({ ...draftBetween(pair), body: 'table for two', validityMs: 60_000 });
    world.pass(10_000);
    await world.runDue();
    expect(world.provider.submitted.at(-1)).toEqual({
      messageId: id,
      attempt: 1,
      messageType: 'sms',
      fromAddress: pair.ours,
      toAddress: pair.theirs,
      body: 'table for two',
      attachments: [],
      email: null,
      validityMs: 50_000,
    });
  });

  it('is not handed over before send_at', async () => {
    const { id } = await send({ sendAt: new Date(world.now().getTime() + 60_000) });
    expect((await historyOf(id)).message.nextAttemptAt).toBeDefined();
    expect(await world.runDue()).toBe(0);
    world.pass(60_000);
    await world.runDue();
    expect((await historyOf(id)).message.status).toBe(MessageStatus.SENT);
  });

  it('waits when its job comes too early', async () => {
    const { id } = await send({ sendAt: new Date(world.now().getTime() + 60_000) });
    await world.dispatch(id);
    expect((await historyOf(id)).message).toMatchObject({ status: MessageStatus.PENDING, attemptCount: 0 });
    expect((await world.jobs()).map(({ runAt }) => runAt.getTime() - world.now().getTime())).toEqual([60_000]);
    world.pass(60_000);
    await world.runDue();
  });

  it('is FAILED for good when the provider refuses it for good', async () => {
    const { id } = await send();
    world.provider.answers(rejected);
    await world.runDue();
    const { message, types } = await historyOf(id);
    expect(message).toMatchObject({
      status: MessageStatus.FAILED,
      failure: { reason: FailureReason.INVALID_DESTINATION, providerCode: '21211' },
    });
    expect(types.at(-1)).toBe(MessageEvent_Type.FAILED);
    expect(await world.jobs()).toEqual([]);
  });

  it('is tried again, later and later, while the provider provably does not process it', async () => {
    const { id } = await send();
    world.provider.answers(transient(), transient(), accepted());
    await world.runDue();
    const after = await historyOf(id);
    expect(after.message).toMatchObject({ status: MessageStatus.PENDING, attemptCount: 1 });
    expect(after.types.at(-1)).toBe(MessageEvent_Type.ATTEMPT_FAILED);
    const waits: number[] = [];
    for (let tries = 0; tries < 2; tries += 1) {
      const [job] = await world.jobs();
      const waitMs = (job?.runAt.getTime() ?? 0) - world.now().getTime();
      waits.push(waitMs);
      world.pass(waitMs - 1);
      expect(await world.runDue()).toBe(0);
      world.pass(1);
      await world.runDue();
    }
    expect(waits).toEqual([1_000, 2_000]);
    expect((await historyOf(id)).message).toMatchObject({ status: MessageStatus.SENT, attemptCount: 3 });
    expect((await world.attempts(id)).map(({ outcome }) => outcome)).toEqual(['transient', 'transient', 'accepted']);
  });

  it('waits as long as the provider asks for', async () => {
    await send();
    world.provider.answers(transient(30_000), accepted());
    await world.runDue();
    const [job] = await world.jobs();
    expect((job?.runAt.getTime() ?? 0) - world.now().getTime()).toBeGreaterThanOrEqual(30_000);
    world.pass(60_000);
    await world.runDue();
  });

  it('is FAILED when its attempts are spent, and can be retried', async () => {
    const { id } = await send();
    world.provider.answers(transient());
    for (let tries = 0; tries < 3; tries += 1) {
      await world.runDue();
      world.pass(60_000);
    }
    const { message } = await historyOf(id);
    expect(message).toMatchObject({
      status: MessageStatus.FAILED,
      attemptCount: 3,
      failure: { reason: FailureReason.ATTEMPTS_EXHAUSTED, retryable: true },
    });
    expect(world.deadLetters.at(-1)).toBe('attempts_exhausted');
    expect(await world.jobs()).toEqual([]);
    world.provider.answers(accepted());
    await world.cases.changeMessage.retry(id, false, undefined, 'test');
    await world.runDue();
    expect((await historyOf(id)).message).toMatchObject({ status: MessageStatus.SENT, attemptCount: 4 });
  });

  it('spends no attempt on credentials that the provider refuses', async () => {
    const { id } = await send();
    const { failure } = rejected as Extract<typeof rejected, { kind: 'rejected' }>;
    world.provider.answers(...Array.from({ length: 8 }, () => ({ kind: 'credentials', failure }) as const), accepted());
    for (let tries = 0; tries < 9; tries += 1) {
      await world.runDue();
      world.pass(60_000);
    }
    expect((await historyOf(id)).message.status).toBe(MessageStatus.SENT);
    expect((await world.attempts(id)).filter(({ outcome }) => outcome === 'credentials')).toHaveLength(8);
  });

  it('waits, untouched, while its provider is not to be asked', async () => {
    const { id } = await send();
    world.provider.unavailableFor(20_000);
    const asked = world.provider.submitted.length;
    await world.runDue();
    expect(world.provider.submitted).toHaveLength(asked);
    expect((await historyOf(id)).message).toMatchObject({ status: MessageStatus.PENDING, attemptCount: 0 });
    world.provider.unavailableFor(0);
    world.pass(30_000);
    await world.runDue();
    expect((await historyOf(id)).message.status).toBe(MessageStatus.SENT);
  });

  it('expires when no provider took it in time, and is never sent late', async () => {
    const { id } = await send({ validityMs: 5_000 });
    world.provider.answers(transient());
    await world.runDue();
    world.pass(5_000);
    const asked = world.provider.submitted.length;
    await world.runDue();
    expect(world.provider.submitted).toHaveLength(asked);
    expect((await historyOf(id)).message).toMatchObject({
      status: MessageStatus.FAILED,
      failure: { reason: FailureReason.EXPIRED, retryable: true },
    });
    expect(world.deadLetters.at(-1)).toBe('expired');
  });
});

describe('a recipient who has opted out', () => {
  it('after the message was accepted gets nothing', async () => {
    const pair = newPair();
    const { id } = await send(draftBetween(pair));
    await world.cases.receive(inboundBetween(pair, { body: 'STOP' }));
    const asked = world.provider.submitted.length;
    await world.runDue();
    expect(world.provider.submitted).toHaveLength(asked);
    const { message } = await historyOf(id);
    expect(message).toMatchObject({ status: MessageStatus.FAILED, failure: { reason: FailureReason.OPTED_OUT, retryable: false } });
  });

  it('by what the provider says is sent nothing more', async () => {
    const pair = newPair();
    const failure = { reason: 'opted_out', providerCode: '21610', providerMessage: '', retryable: false } as const;
    world.provider.answers({ kind: 'rejected', failure });
    const { id } = await send(draftBetween(pair));
    await world.runDue();
    expect((await historyOf(id)).message.failure?.reason).toBe(FailureReason.OPTED_OUT);
    await expect(send(draftBetween(pair))).rejects.toEqual(refused('recipient_opted_out'));
  });
});

describe('CancelMessage', () => {
  it('is refused while the provider is being asked, and the message is sent', async () => {
    const { id } = await send();
    world.provider.answers(async () => {
      await expect(world.cases.changeMessage.cancel(id)).rejects.toEqual(refused('status_forbids'));
      return accepted()();
    });
    await world.runDue();
    expect((await historyOf(id)).message.status).toBe(MessageStatus.SENT);
  });

  it('before the attempt, or between two, means that it is never sent', async () => {
    const early = await send();
    await world.cases.changeMessage.cancel(early.id);
    const between = await send();
    world.provider.answers(transient());
    await world.runDue();
    await world.cases.changeMessage.cancel(between.id);
    const asked = world.provider.submitted.length;
    world.pass(60_000);
    await world.runDue();
    expect(world.provider.submitted).toHaveLength(asked);
    for (const { id } of [early, between]) expect((await historyOf(id)).message.failure?.reason).toBe(FailureReason.CANCELED);
  });
});

describe('a report', () => {
  it('that overtakes the answer of the provider counts, and the answer changes nothing', async () => {
    const { id } = await send();
    world.provider.answers(async ({ messageId, attempt }) => {
      await world.cases.report(reportOn(messageId, { attempt, providerMessageId: 'SM0002', providerStatus: 'delivered' }));
      return accepted('SM0002')();
    });
    await world.runDue();
    expect((await historyOf(id)).message).toMatchObject({ status: MessageStatus.DELIVERED, providerMessageId: 'SM0002' });
  });

  it('on an attempt before a RetryMessage is recorded and changes nothing', async () => {
    const { id } = await send();
    world.provider.answers(rejected);
    await world.runDue();
    await world.cases.changeMessage.retry(id, true, undefined, 'test');
    const late = await world.cases.report(reportOn(id, { attempt: 1, providerMessageId: 'SM0003', providerStatus: 'delivered' }));
    expect(late).toMatchObject({
      duplicate: false,
      message: { status: MessageStatus.PENDING, providerMessageId: '' },
      event: { attempt: 1 },
    });
    world.provider.answers(accepted('SM0004'));
    await world.runDue();
    const again = await world.cases.report(reportOn(id, { attempt: undefined, providerMessageId: 'SM0004', providerStatus: 'delivered' }));
    expect(again).toMatchObject({ message: { status: MessageStatus.DELIVERED, providerMessageId: 'SM0004' }, event: { attempt: 2 } });
  });
});

describe('an attempt that a RetryMessage has superseded', () => {
  it('is known by its id when the provider accepts it all the same', async () => {
    const { id } = await send();
    world.provider.answers(async ({ attempt }) => {
      await world.cases.report(reportOn(id, { attempt, providerMessageId: '', providerStatus: 'failed' }));
      await world.cases.changeMessage.retry(id, true, undefined, 'test');
      return accepted('SM0010')();
    }, accepted('SM0011'));
    await world.dispatch(id);
    const late = await world.cases.report(reportOn(undefined, { providerMessageId: 'SM0010', providerStatus: 'delivered' }));
    expect(late).toMatchObject({ message: { id, status: MessageStatus.PENDING }, event: { attempt: 1 } });
    await world.runDue();
    expect((await historyOf(id)).message).toMatchObject({ status: MessageStatus.SENT, providerMessageId: 'SM0011' });
  });
});

describe('an answer that is recorded twice, because the reply to COMMIT was lost', () => {
  it.each([
    ['accepted', accepted('SM0009'), MessageStatus.SENT],
    ['transient', transient(), MessageStatus.PENDING],
    ['rejected', rejected, MessageStatus.FAILED],
  ] as const)('counts once: %s', async (_, answer, status) => {
    const { id } = await send();
    world.provider.answers(answer);
    world.losesNextReply();
    await world.runDue();
    const { message, types } = await historyOf(id);
    expect(message).toMatchObject({ status, attemptCount: 1 });
    expect(types).toHaveLength(3);
    expect(await world.attempts(id)).toHaveLength(1);
  });
});
