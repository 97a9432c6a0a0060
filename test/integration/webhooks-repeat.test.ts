/** Requests that are processed again: by the queue, while they tell of messages that are not known yet, and by people. */
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MessageStatus, Provider } from '../../gen/messaging/v1/message_pb.js';
import { WebhookRequest_State as State } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { twilioPost, twilioStatus } from '../support/signed-webhooks.ts';
import { allPages } from '../support/store-and-reads.ts';
import { draftBetween, newPair } from '../support/use-cases.ts';
import { contentOf, emailDraft, eventsContent, openWebhookCases, type WebhookCases } from '../support/webhook-cases.ts';

const MINUTE_MS = 60_000;

let on: WebhookCases;
beforeAll(async () => {
  on = await openWebhookCases();
});
afterAll(() => on?.[Symbol.asyncDispose]());
beforeEach(() => {
  on.told.length = 0;
});

interface Job {
  readonly task_identifier: string;
  readonly payload: unknown;
  readonly run_at: Date;
}

/** What the queue would run for this request. */
async function jobsOf(id: string): Promise<readonly Job[]> {
  return on.query<Job & { readonly [column: string]: unknown }>(
    `select jobs.task_identifier, tasks.payload, jobs.run_at from graphile_worker.jobs
    join graphile_worker._private_jobs tasks using (id) where jobs.key = $1`,
    [`webhook:${id}`],
  );
}

/** Runs the job when its time has come, as a worker does. */
async function runJob(id: string): Promise<void> {
  const [job, ...more] = await jobsOf(id);
  if (job === undefined || more.length > 0) throw new Error('there is not one job');
  await on.query(`select graphile_worker.remove_job($1)`, [`webhook:${id}`]);
  on.advance(Math.max(0, job.run_at.getTime() - on.now().getTime()));
  await on.retry(id);
}

const sentSms = async () => (await on.cases.send(draftBetween(newPair()))).message;
/** Of a message that Twilio knows by an id which nobody has told us yet. */
const reportOnSid = (sid: string, status = 'delivered') =>
  contentOf(twilioPost('twilio_status', { MessageSid: sid, MessageStatus: status }));
const learnSid = (messageId: string, sid: string) => on.ingest(contentOf(twilioStatus(messageId, 1, 'sent', { MessageSid: sid })));
const statusOf = async (id: string) => (await on.reads.findMessage(id)).value?.status;

describe('a report on a message that is not known', () => {
  it('is kept, and applied once the message is', async () => {
    const sid = `SM${uuidv7()}`;
    const { id, state } = await on.ingest(reportOnSid(sid));
    expect(state).toBe('unmatched');
    const unknown = '1 of 1 events tell of a message that is not known; tried again for 15 minutes';
    expect(await on.read.get(id)).toMatchObject({ state: State.UNMATCHED, error: unknown });
    expect(await jobsOf(id)).toEqual([
      { task_identifier: 'retry_webhook', payload: { webhookRequestId: id }, run_at: new Date(on.now().getTime() + 5_000) },
    ]);
    await runJob(id);
    expect(await on.read.get(id)).toMatchObject({ state: State.UNMATCHED, error: unknown });
    const { id: messageId } = await sentSms();
    await learnSid(messageId, sid);
    on.told.length = 0;
    await runJob(id);
    expect(await on.read.get(id)).toMatchObject({ state: State.PROCESSED, error: '' });
    expect(await statusOf(messageId)).toBe(MessageStatus.DELIVERED);
    expect(await jobsOf(id)).toEqual([]);
    expect(on.told).toEqual(['applied']);
  });

  it('is given up after 15 minutes and a dozen tries, and can still be replayed', async () => {
    const sid = `SM${uuidv7()}`;
    const { id } = await on.ingest(reportOnSid(sid));
    const startMs = on.now().getTime();
    const triedAtMs: number[] = [];
    while ((await jobsOf(id)).length > 0 && triedAtMs.length < 50) {
      await runJob(id);
      triedAtMs.push(on.now().getTime() - startMs);
    }
    expect(triedAtMs.slice(0, 4)).toEqual([5_000, 15_000, 35_000, 75_000]);
    expect(triedAtMs.at(-1)).toBe(15 * MINUTE_MS);
    expect(triedAtMs.length).toBeLessThan(15);
    const givenUp = { state: State.UNMATCHED, error: expect.stringContaining('given up after 15 minutes') };
    expect(await on.read.get(id)).toMatchObject(givenUp);
    expect(await on.replay(id)).toMatchObject(givenUp);
    expect(await jobsOf(id)).toEqual([]);
    const { id: messageId } = await sentSms();
    await learnSid(messageId, sid);
    expect(await on.replay(id)).toMatchObject({ state: State.PROCESSED, error: '' });
    expect(await statusOf(messageId)).toBe(MessageStatus.DELIVERED);
  });

  it('beside one that makes no sense is tried again all the same', async () => {
    const { message } = await on.cases.send(emailDraft(`ada-${uuidv7()}@example.org`));
    const late = `sg-${uuidv7()}`;
    const event = { sg_event_id: uuidv7(), sg_message_id: `${late}.filter0001`, event: 'delivered' };
    const { id, state } = await on.ingest(eventsContent([{}, event]));
    expect(state).toBe('quarantined');
    await on.ingest(eventsContent([{ ...event, sg_event_id: uuidv7(), event: 'processed', message_id: message.id }]));
    on.told.length = 0;
    await runJob(id);
    expect(await statusOf(message.id)).toBe(MessageStatus.DELIVERED);
    expect(await on.read.get(id)).toMatchObject({ state: State.QUARANTINED, error: expect.not.stringContaining('not known') });
    // What was wrong before has been told before.
    expect(on.told).toEqual(['applied']);
  });

  it('that turns out to make no sense is told of then', async () => {
    const sid = `SM${uuidv7()}`;
    const { message } = await on.cases.send(emailDraft(`ada-${uuidv7()}@example.org`));
    const { id } = await on.ingest(
      contentOf(twilioPost('twilio_status', { MessageSid: sid, MessageStatus: 'sent' }, `?message_id=${message.id}`)),
    );
    expect(on.told).toEqual(['quarantined', { reason: 'provider: does not carry this message', error: expect.any(Error) }]);
    expect(await jobsOf(id)).toEqual([]);
  });

  it('too large to be kept whole is not tried again', async () => {
    const events = Array.from({ length: 1_500 }, () => ({
      sg_event_id: uuidv7(),
      sg_message_id: 'unknown.x',
      event: 'delivered',
      reason: 'x'.repeat(700),
    }));
    const { id, state } = await on.ingest(eventsContent(events));
    expect(state).toBe('unmatched');
    expect((await on.read.get(id)).error).toContain('too large to keep');
    expect(await jobsOf(id)).toEqual([]);
  });
});

describe('a retry', () => {
  it('does nothing when the request is gone, or processed', async () => {
    await on.retry(uuidv7());
    const { id } = await on.ingest(contentOf(twilioStatus((await sentSms()).id, 1, 'sent')));
    await on.retry(id);
    expect(await on.query('select tries from webhook_requests where id = $1', [id])).toEqual([{ tries: 1 }]);
  });
});

describe('a replay', () => {
  it('changes nothing however often it is done, even at once', async () => {
    const { id: messageId } = await sentSms();
    const { id } = await on.ingest(contentOf(twilioStatus(messageId, 1, 'delivered')));
    const { value: before } = await on.reads.findMessage(messageId);
    const again = await Promise.all(Array.from({ length: 10 }, () => on.replay(id)));
    for (const request of again) expect(request).toMatchObject({ state: State.PROCESSED, error: '' });
    expect((await on.reads.findMessage(messageId)).value).toEqual(before);
    expect(await on.query('select tries from webhook_requests where id = $1', [id])).toEqual([{ tries: 11 }]);
  });

  it('answers with the request as it is stored', async () => {
    const { id } = await on.ingest(contentOf(twilioStatus((await sentSms()).id, 1, 'sent')));
    expect(await on.replay(id)).toEqual(await on.read.get(id));
  });

  it('of a request that is not there is refused', async () => {
    await expect(on.replay(uuidv7())).rejects.toMatchObject({ code: 'webhook_request_not_found' });
    await expect(on.read.get(uuidv7())).rejects.toMatchObject({ code: 'webhook_request_not_found' });
  });
});

describe('stored requests', () => {
  it('are listed newest first, by provider and state, without bodies, and forgotten by age', async () => {
    await on.query('delete from webhook_requests');
    const expected: string[] = [];
    for (let index = 0; index < 12; index += 1) {
      if (index % 3 === 0) on.advance(1_000);
      const { id } = await on.ingest(index % 2 === 0 ? eventsContent([]) : contentOf(twilioPost('twilio_status', {})));
      expected.unshift(id);
    }
    const idsOf = async (filter: Parameters<typeof on.read.list>[0]) =>
      (await allPages((page) => on.read.list(filter, page), 5)).map(({ id }) => id);
    expect(await idsOf({})).toEqual(expected);
    const [twilio, sendgrid] = [expected.filter((_, index) => index % 2 === 0), expected.filter((_, index) => index % 2 === 1)];
    expect(await idsOf({ provider: 'twilio' })).toEqual(twilio);
    expect(await idsOf({ state: 'processed' })).toEqual(sendgrid);
    expect(await idsOf({ provider: 'sendgrid', state: 'processed' })).toEqual(sendgrid);
    expect(await idsOf({ provider: 'sendgrid', state: 'quarantined' })).toEqual([]);
    const { items } = await on.read.list({ provider: 'sendgrid' }, { size: 1 });
    expect(items).toEqual([expect.objectContaining({ provider: Provider.SENDGRID, body: new Uint8Array() })]);

    const before = new Date(on.now().getTime() - 1_500);
    expect(await on.webhooks.deleteOlderThan(before, 4)).toBe(4);
    expect(await on.webhooks.deleteOlderThan(before, 4)).toBe(2);
    expect(await on.webhooks.deleteOlderThan(before, 4)).toBe(0);
    expect(await idsOf({})).toEqual(expected.slice(0, 6));
  });
});
