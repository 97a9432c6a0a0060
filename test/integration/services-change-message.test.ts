import { v7 as uuidv7 } from 'uuid';
import { describe, expect, it } from 'vitest';
import { FailureReason, MessageEvent_Type, MessageStatus } from '../../gen/messaging/v1/message_pb.js';
import { openForAll } from '../support/store-and-reads.ts';
import { draftBetween, inboundBetween, newPair, openStorage, refused, reportOn, useCases } from '../support/use-cases.ts';

const storage = openForAll(openStorage);
const cases = () => useCases(storage);

const sentMessage = async () => (await cases().send(draftBetween(newPair()))).message;
const eventsOf = async (id: string) => (await storage.reads.listMessageEvents(id, { size: 100 })).items;

async function failedMessage(providerCode = '30003') {
  const { id } = await sentMessage();
  return (await cases().report(reportOn(id, { providerStatus: 'undelivered', providerCode, providerMessageId: `SM${id}` }))).message;
}

describe('CancelMessage', () => {
  it('fails a pending message as canceled and records it', async () => {
    const { id } = await sentMessage();
    const message = await cases().changeMessage.cancel(id);
    expect(message).toMatchObject({ status: MessageStatus.FAILED, failure: { reason: FailureReason.CANCELED, retryable: true } });
    expect(message.failedAt).toBeDefined();
    expect(await eventsOf(id)).toMatchObject([
      { sequence: 1n },
      { sequence: 2n, type: MessageEvent_Type.CANCELED, statusBefore: MessageStatus.PENDING, statusAfter: MessageStatus.FAILED },
    ]);
  });

  it('is done once by many at once', async () => {
    const { id } = await sentMessage();
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => cases().changeMessage.cancel(id)));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toEqual(refused('status_forbids'));
    expect(await eventsOf(id)).toHaveLength(2);
  });

  it('and a report at once leave what one after the other would', async () => {
    const { id } = await sentMessage();
    const [canceled] = await Promise.allSettled([
      cases().changeMessage.cancel(id),
      cases().report(reportOn(id, { providerStatus: 'sent' })),
    ]);
    const { message } = (await cases().messages.get(id, { conversation: false, events: false })).value;
    expect(message.status).toBe(canceled.status === 'fulfilled' ? MessageStatus.FAILED : MessageStatus.SENT);
  });

  it('refuses what a provider has, what was received, and what is not there, and records nothing', async () => {
    const { id } = await sentMessage();
    await cases().report(reportOn(id, { providerStatus: 'sent' }));
    await expect(cases().changeMessage.cancel(id)).rejects.toEqual(refused('status_forbids'));
    expect(await eventsOf(id)).toHaveLength(2);
    const { message } = await cases().receive(inboundBetween(newPair()));
    await expect(cases().changeMessage.cancel(message.id)).rejects.toEqual(refused('status_forbids'));
    await expect(cases().changeMessage.cancel(uuidv7())).rejects.toEqual(refused('message_not_found'));
    const { value } = await storage.reads.findConversation(message.conversationId);
    expect(value).toMatchObject({ lastSequence: 1n, etag: 'v1' });
  });
});

describe('RetryMessage', () => {
  const retry = (id: string, { force = false, requestId }: { force?: boolean; requestId?: string } = {}) =>
    cases().changeMessage.retry(id, force, requestId, 'test');

  it('makes a failed message pending, as if it were new', async () => {
    const { id } = await failedMessage();
    const message = await retry(id);
    expect(message).toMatchObject({ status: MessageStatus.PENDING, providerMessageId: '' });
    expect([message.failure, message.failedAt, message.sentAt, message.deliveredAt]).toEqual([undefined, undefined, undefined, undefined]);
    expect((await eventsOf(id)).at(-1)).toMatchObject({ type: MessageEvent_Type.RETRIED, statusAfter: MessageStatus.PENDING });
    // A late report of the first attempt does not find it by the id of that attempt.
    const late = cases().report(reportOn(undefined, { providerMessageId: `SM${id}` }));
    await expect(late).rejects.toEqual(refused('message_not_found'));
  });

  it('needs force when it would fail again', async () => {
    const { id } = await failedMessage('30005');
    await expect(retry(id)).rejects.toMatchObject({ code: 'not_retryable', metadata: { reason: 'invalid_destination' } });
    expect(await retry(id, { force: true })).toMatchObject({ status: MessageStatus.PENDING });
  });

  it('is done once for one request_id, and refused with it for something else', async () => {
    const { id } = await failedMessage();
    const requestId = uuidv7();
    const views = await Promise.all(Array.from({ length: 10 }, () => retry(id, { requestId })));
    expect(new Set(views.map(({ etag }) => etag)).size).toBe(1);
    expect(await eventsOf(id)).toHaveLength(3);
    await cases().report(reportOn(id, { providerStatus: 'failed' }));
    expect(await retry(id, { requestId })).toMatchObject({ status: MessageStatus.FAILED });
    await expect(retry(id, { requestId, force: true })).rejects.toEqual(refused('request_id_reused'));
    await expect(retry((await failedMessage()).id, { requestId })).rejects.toEqual(refused('request_id_reused'));
  });

  it('that is repeated after its message was deleted answers message_not_found', async () => {
    const { id, conversationId } = await failedMessage();
    const requestId = uuidv7();
    await retry(id, { requestId });
    await cases().changeConversation.delete(conversationId, '', false);
    await expect(retry(id, { requestId })).rejects.toEqual(refused('message_not_found'));
  });

  it('refuses what has not failed and what is not there, and leaves the request_id free', async () => {
    const { id } = await sentMessage();
    const requestId = uuidv7();
    await expect(retry(id, { requestId })).rejects.toEqual(refused('status_forbids'));
    await expect(retry(uuidv7(), { requestId })).rejects.toEqual(refused('message_not_found'));
    await cases().changeMessage.cancel(id);
    expect(await retry(id, { requestId })).toMatchObject({ status: MessageStatus.PENDING });
  });
});
