import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MessageStatus, MessageType, Provider } from '../../gen/messaging/v1/message_pb.js';
import { WebhookRequest_State as State } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { newAttempt } from '../../src/domain/delivery-attempt.ts';
import { expectConsistent } from '../contract/recount.ts';
import { MULTIPART, mailFields, multipartBody, twilioPost, twilioStatus } from '../support/signed-webhooks.ts';
import { draftBetween, newPair } from '../support/use-cases.ts';
import { contentOf, emailDraft, eventsContent, openWebhookCases, type WebhookCases } from '../support/webhook-cases.ts';

let on: WebhookCases;
beforeAll(async () => {
  on = await openWebhookCases();
});
afterAll(() => on?.[Symbol.asyncDispose]());
beforeEach(() => {
  on.told.length = 0;
  on.traced.length = 0;
});

const sentSms = async () => (await on.cases.send(draftBetween(newPair()))).message;
const sentEmail = async () => (await on.cases.send(emailDraft(`ada-${uuidv7()}@example.org`))).message;
const statusOf = async (id: string) => (await on.reads.findMessage(id)).value?.status;
const eventOn = (messageId: string, event: string, more: object = {}) => {
  return {
    sg_event_id: uuidv7(),
    sg_message_id: `${messageId}.filter0001`,
    event,
    message_id: messageId,
    timestamp: 1_777_636_800,
    ...more,
  };
};

describe('a webhook', () => {
  it('is stored as it came, with what became of it', async () => {
    const { id: messageId } = await sentSms();
    const content = contentOf(twilioStatus(messageId, 1, 'delivered'));
    const { id, state } = await on.ingest(content);
    expect(state).toBe('processed');
    expect(await on.read.get(id)).toMatchObject({
      provider: Provider.TWILIO,
      path: `/webhooks/twilio/status?message_id=${messageId}&message_attempt=1`,
      contentType: 'application/x-www-form-urlencoded',
      body: new Uint8Array(content.body),
      state: State.PROCESSED,
      error: '',
    });
    expect(await statusOf(messageId)).toBe(MessageStatus.DELIVERED);
    expect(on.told).toEqual(['applied']);
  });

  it('that comes again changes nothing', async () => {
    const { id } = await sentSms();
    const content = contentOf(twilioStatus(id, 1, 'sent'));
    await on.ingest(content);
    const { value: before } = await on.reads.findMessage(id);
    expect((await on.ingest(content)).state).toBe('processed');
    expect((await on.reads.findMessage(id)).value).toEqual(before);
    expect(on.told).toEqual(['applied', 'duplicate']);
  });

  it('with a message stores it once, in its conversation', async () => {
    const pair = newPair();
    const form = { MessageSid: `SM${uuidv7()}`, From: pair.theirs, To: pair.ours, Body: 'hi', NumSegments: '1' };
    await on.ingest(contentOf(twilioPost('twilio_inbound', form)));
    await on.ingest(contentOf(twilioPost('twilio_inbound', form)));
    const filter = { conversationIds: [], statuses: [], messageTypes: [], failureReasons: [], providerMessageId: form.MessageSid };
    const { items } = await on.reads.listMessages(filter, { size: 10 });
    expect(items).toEqual([expect.objectContaining({ body: 'hi', messageType: MessageType.SMS, metaData: { num_segments: '1' } })]);
    await expectConsistent(on, items[0]?.conversationId ?? '');
  });

  it('with a mail stores it once, in its conversation', async () => {
    const from = `ada-${uuidv7()}@example.org`;
    const mail = { from, headers: `Message-ID: <${from}>\r\n` };
    const content = { endpoint: 'sendgrid_inbound', path: '/webhooks/sendgrid/inbound', contentType: MULTIPART } as const;
    for (let times = 0; times < 2; times += 1) {
      expect((await on.ingest({ ...content, body: multipartBody(mailFields(mail)) })).state).toBe('processed');
    }
    const filter = { conversationIds: [], statuses: [], messageTypes: [], failureReasons: [], providerMessageId: `<${from}>` };
    const { items } = await on.reads.listMessages(filter, { size: 10 });
    expect(items).toEqual([expect.objectContaining({ fromAddress: from, email: expect.objectContaining({ subject: 'Hello' }) })]);
    await expectConsistent(on, items[0]?.conversationId ?? '');
  });

  it('that makes no sense is kept for people', async () => {
    const { id, state } = await on.ingest({ ...eventsContent([]), body: Buffer.from('{') });
    expect(state).toBe('quarantined');
    expect(await on.read.get(id)).toMatchObject({ state: State.QUARANTINED, error: 'event 1 of 1: it is not JSON' });
    expect(on.told).toEqual(['quarantined', { reason: 'it is not JSON', error: undefined }]);
  });

  it('larger than 1 MiB is processed whole and kept in part', async () => {
    const from = `ada-${uuidv7()}@example.org`;
    const body = multipartBody(mailFields({ from, headers: `Message-ID: <${from}>\r\n`, html: 'x'.repeat(1_100_000) }));
    const { id, state } = await on.ingest({
      endpoint: 'sendgrid_inbound',
      path: '/webhooks/sendgrid/inbound',
      contentType: MULTIPART,
      body,
    });
    expect(state).toBe('processed');
    expect((await on.read.get(id)).body).toEqual(new Uint8Array(body.subarray(0, 1_048_576)));
    await expect(on.replay(id)).rejects.toMatchObject({ code: 'status_forbids' });
  });

  it('continues the trace of the attempt that each event is about', async () => {
    const [one, two] = [await sentEmail(), await sentEmail()];
    const attempt = (messageId: string, number: number, providerMessageId: string) =>
      on.store.transaction(async (tx) => {
        const traceParent = `00-${'0'.repeat(31)}1-${'0'.repeat(15)}${number}-01`;
        const fields = { id: uuidv7(), messageId, attempt: number, provider: 'sendgrid', traceParent, startedAt: on.now() } as const;
        await tx.writeAttempt({ ...newAttempt(fields), outcome: 'accepted', providerMessageId });
      });
    await attempt(one.id, 1, `first-${one.id}`);
    await attempt(one.id, 2, `second-${one.id}`);
    const parentOf = async (event: object) => {
      on.traced.length = 0;
      await on.ingest(eventsContent([event]));
      return on.traced.map((parent) => parent.at(-4)).join();
    };
    expect(await parentOf(eventOn(one.id, 'processed', { message_attempt: '1' }))).toBe('1');
    expect(await parentOf(eventOn(one.id, 'processed', { message_attempt: '2' }))).toBe('2');
    expect(await parentOf(eventOn(one.id, 'processed', { sg_message_id: `first-${one.id}.filter0001` }))).toBe('1');
    expect(await parentOf(eventOn(one.id, 'processed', { message_id: '', sg_message_id: `second-${one.id}.filter0001` }))).toBe('2');
    expect(await parentOf(eventOn(one.id, 'processed', { sg_message_id: '' }))).toBe('2');
    expect(await parentOf(eventOn(two.id, 'processed', { message_attempt: '1' }))).toBe('');
    expect(await parentOf(eventOn(uuidv7(), 'processed'))).toBe('');
  });
});

describe('of several events', () => {
  it('one that cannot be applied is left out, and nothing of it is left behind', async () => {
    const [good, better] = [await sentEmail(), await sentEmail()];
    const { id: sms, conversationId } = await sentSms();
    const before = (await on.reads.findConversation(conversationId)).value;
    const bad = eventOn(sms, 'delivered');
    const { id, state } = await on.ingest(eventsContent([eventOn(good.id, 'processed'), bad, {}, eventOn(better.id, 'delivered')]));
    expect(state).toBe('quarantined');
    expect((await on.read.get(id)).error).toBe(
      'event 2 of 4: provider: does not carry this message; event 3 of 4: it has no sg_event_id, or too long a one',
    );
    expect([await statusOf(good.id), await statusOf(better.id)]).toEqual([MessageStatus.SENT, MessageStatus.DELIVERED]);
    expect(await statusOf(sms)).toBe(MessageStatus.PENDING);
    expect((await on.reads.findConversation(conversationId)).value).toEqual(before);
    expect(on.told.filter((kind) => typeof kind === 'string')).toEqual(['applied', 'quarantined', 'quarantined', 'applied']);
  });

  it('one that meets a bug is undone after it was half written, and told with its error', async () => {
    const [good, broken, better] = [await sentEmail(), await sentEmail(), await sentEmail()];
    await on.query(`
      create function fail_on_word() returns trigger language plpgsql as $$
      begin
        if new.provider_status = 'open' then raise check_violation using message = 'private text'; end if;
        return new;
      end $$`);
    await on.query('create trigger fail_on_word after insert on message_events for each row execute function fail_on_word()');
    // Of the same message too: it is an entity of the transaction by then.
    const events = [
      eventOn(good.id, 'processed'),
      eventOn(broken.id, 'delivered'),
      eventOn(broken.id, 'open'),
      eventOn(broken.id, 'click'),
      eventOn(better.id, 'delivered'),
    ];
    const { id } = await on.ingest(eventsContent(events));
    await on.query('drop function fail_on_word cascade');
    const { state, error } = await on.read.get(id);
    expect(state).toBe(State.QUARANTINED);
    expect(error).toMatch(/^event 3 of 5: a bug of this service, \w+$/);
    expect(on.told).toContainEqual({ reason: expect.stringContaining('a bug'), error: expect.any(Error) });
    for (const [message, status, words] of [
      [good, MessageStatus.SENT, ['', 'processed']],
      [broken, MessageStatus.DELIVERED, ['', 'delivered', 'click']],
      [better, MessageStatus.DELIVERED, ['', 'delivered']],
    ] as const) {
      expect(await statusOf(message.id)).toBe(status);
      const { items } = await on.reads.listMessageEvents(message.id, { size: 10 });
      expect(items.map(({ providerStatus }) => providerStatus)).toEqual(words);
      await expectConsistent(on, message.conversationId);
    }
    // Once the bug is mended, a replay applies what is missing.
    expect((await on.replay(id)).state).toBe(State.PROCESSED);
    expect((await on.reads.listMessageEvents(broken.id, { size: 10 })).items.map(({ providerStatus }) => providerStatus)).toEqual([
      '',
      'delivered',
      'click',
      'open',
    ]);
  });

  it('one that meets a bug and is too large to be kept is not stored, so that it comes again', async () => {
    const from = `ada-${uuidv7()}@example.org`;
    const mail = (html: string, headers = `Message-ID: <${from}>\r\n`) => {
      const body = multipartBody(mailFields({ from, headers, html }));
      return { endpoint: 'sendgrid_inbound', path: '/webhooks/sendgrid/inbound', contentType: MULTIPART, body } as const;
    };
    await on.query(`
      create function fail_on_mail() returns trigger language plpgsql as $$
      begin
        raise check_violation using message = 'private text';
      end $$`);
    await on.query('create trigger fail_on_mail before insert on messages for each row execute function fail_on_mail()');
    const stored = async () => (await on.query('select 1 from webhook_requests')).length;
    const before = await stored();
    await expect(on.ingest(mail('x'.repeat(1_100_000)))).rejects.toThrow();
    expect([await stored(), on.told]).toEqual([before, []]);
    // One that is kept whole can be replayed.
    expect((await on.ingest(mail('x'))).state).toBe('quarantined');
    await on.query('drop function fail_on_mail cascade');
    // What breaks a rule, or cannot be read, will make no more sense when it comes again.
    expect((await on.ingest({ ...mail('x'.repeat(1_100_000)), contentType: 'text/plain' })).state).toBe('quarantined');
    expect((await on.ingest(mail('x'.repeat(1_100_000)))).state).toBe('processed');
  });

  it('a lost transaction keeps nothing at all, and says so', async () => {
    const [good, other] = [await sentEmail(), await sentEmail()];
    await on.query(`
      create function end_connection() returns trigger language plpgsql as $$
      begin
        if new.provider_status = 'open' then perform pg_terminate_backend(pg_backend_pid()); end if;
        return new;
      end $$`);
    await on.query('create trigger end_connection after insert on message_events for each row execute function end_connection()');
    const lost = on.ingest(eventsContent([eventOn(good.id, 'delivered'), eventOn(other.id, 'open')]));
    await expect(lost).rejects.toMatchObject({ code: 'storage_unavailable' });
    await on.query('drop function end_connection cascade');
    expect(await statusOf(good.id)).toBe(MessageStatus.PENDING);
    expect(on.told).toEqual([]);
  });

  it('reasons of the first five stand for all', async () => {
    const { id } = await on.ingest(eventsContent(Array.from({ length: 8 }, () => ({}))));
    const { error } = await on.read.get(id);
    expect(error.match(/event \d of 8/g)).toHaveLength(5);
    expect(error).toMatch(/; and 3 more$/);
  });
});
