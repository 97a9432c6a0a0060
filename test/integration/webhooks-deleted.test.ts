/** Events about messages that have been deleted: who wants no more email is obeyed all the same. */
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { WebhookRequest_State as State } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { createManageSuppressions } from '../../src/services/manage-suppressions.ts';
import { emailDraft, eventsContent, openWebhookCases, type WebhookCases } from '../support/webhook-cases.ts';

let on: WebhookCases;
beforeAll(async () => {
  on = await openWebhookCases();
});
afterAll(() => on?.[Symbol.asyncDispose]());
beforeEach(() => {
  on.told.length = 0;
});

const newMailbox = () => `Ada-${uuidv7()}@example.org`;
const ofMailbox = (address: string) => on.suppressions.findSuppressions('email', address.toLowerCase());

async function deletedMessage(address: string): Promise<string> {
  const { id, conversationId } = (await on.cases.send(emailDraft(address))).message;
  await on.cases.changeConversation.delete(conversationId, '', false);
  return id;
}

const eventOn = (messageId: string, email: string, event: string, more: object = {}) => {
  return { sg_event_id: uuidv7(), sg_message_id: `${uuidv7()}.filter0001`, message_id: messageId, email, event, ...more };
};

describe('an opt-out about a deleted message', () => {
  it.each([
    ['bounce', {}, 'hard_bounce'],
    ['spamreport', {}, 'spam_report'],
    ['unsubscribe', {}, 'unsubscribe'],
    ['group_unsubscribe', {}, 'group_unsubscribe'],
    ['dropped', { reason: 'Bounced Address' }, 'provider'],
  ])('by %s suppresses the address, and stays unmatched', async (event, more, source) => {
    const address = newMailbox();
    const messageId = await deletedMessage(address);
    const { id, state } = await on.ingest(eventsContent([eventOn(messageId, address, event, more)]));
    expect([state, on.told]).toEqual(['unmatched', ['unmatched']]);
    expect(await ofMailbox(address)).toMatchObject([{ address, fromAddress: '', source, messageId }]);
    expect((await on.read.get(id)).error).toBe('1 of 1 events tell of a message that is not known; tried again for 15 minutes');
  });

  it('is obeyed beside events that are matched', async () => {
    const [deleted, kept] = [newMailbox(), newMailbox()];
    const messageId = await deletedMessage(deleted);
    const { id } = (await on.cases.send(emailDraft(kept))).message;
    await on.ingest(eventsContent([eventOn(id, kept, 'spamreport'), eventOn(messageId, deleted, 'spamreport')]));
    expect(on.told).toEqual(['applied', 'unmatched']);
    expect([await ofMailbox(kept), await ofMailbox(deleted)]).toMatchObject([[{ messageId: id }], [{ messageId }]]);
  });

  it('is obeyed once: when it is tried again it does not undo what came after it', async () => {
    const address = newMailbox();
    const { id } = await on.ingest(eventsContent([eventOn(await deletedMessage(address), address, 'bounce')]));
    const suppressions = createManageSuppressions({ ...on.parts, ...on });
    await suppressions.delete({ channel: 'email', address, fromAddress: '' });
    await on.retry(id);
    await on.replay(id);
    expect((await on.read.get(id)).state).toBe(State.UNMATCHED);
    expect(await ofMailbox(address)).toEqual([]);
  });

  it.each<readonly [string, (messageId: string, address: string) => object]>([
    ['that is no opt-out', (id, address) => eventOn(id, address, 'delivered')],
    ['that lifts one', (id, address) => eventOn(id, address, 'group_resubscribe')],
    ['that does not name our message', (_id, address) => eventOn('', address, 'bounce')],
    ['that names no address', (id) => eventOn(id, '', 'bounce')],
    ['whose address is none', (id) => eventOn(id, 'private words', 'bounce')],
  ])('%s suppresses nobody', async (_what, make) => {
    const address = newMailbox();
    const { id, state } = await on.ingest(eventsContent([make(await deletedMessage(address), address)]));
    expect([state, on.told]).toEqual(['unmatched', ['unmatched']]);
    expect(await ofMailbox(address)).toEqual([]);
    expect((await on.read.get(id)).error).not.toContain('private');
  });
});
