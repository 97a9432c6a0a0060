/** Messages on their way through the provider and back. What is true of the single steps is tested where they are. */
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { Direction, FailureReason, MessageEvent_Type, MessageStatus } from '../../gen/messaging/v1/message_pb.js';
import { patiently } from '../support/cached-service.ts';
import { type DeliveringOptions, type DeliveringService, startDelivering } from '../support/delivering-service.ts';
import { startOtlpReceiver } from '../support/otlp-receiver.ts';
import { scrape } from '../support/scrape.ts';
import { newPair } from '../support/use-cases.ts';

const smsTo = (toAddress: string) => ({ fromAddress: '+14155552671', toAddress, body: 'Your table is ready.' });
const mail = {
  fromAddress: 'desk@example.com',
  toAddress: 'guest@example.org',
  body: 'It is ready.',
  email: { subject: 'Your table', htmlBody: '<p>It is ready.</p>' },
};

async function own(options: DeliveringOptions = {}): Promise<DeliveringService> {
  const on = await startDelivering(options);
  onTestFinished(() => on[Symbol.asyncDispose]());
  return on;
}

async function sent({ calls }: DeliveringService, message: object): Promise<string> {
  const { message: stored } = await calls.messages.sendMessage({ message });
  return stored?.id ?? '';
}

const reaches = ({ calls }: DeliveringService, id: string, status: MessageStatus) =>
  vi.waitFor(async () => {
    const { message } = await calls.readMessage(id);
    expect(message.status).toBe(status);
    return message;
  }, patiently);

describe('a message', () => {
  let on: DeliveringService;
  beforeAll(async () => {
    on = await startDelivering({ faults: { everyStatus: true, duplicate: 1, duplicateCopies: 1, reorder: 1 } });
  });
  afterAll(() => on?.[Symbol.asyncDispose]());

  it.each([
    ['SMS', smsTo(newPair().theirs)],
    ['email', mail],
  ])('by %s is delivered, though its reports come twice and in any order', async (_, draft) => {
    const id = await sent(on, draft);
    const message = await reaches(on, id, MessageStatus.DELIVERED);
    await on.simulator.idle();
    const accepted = on.simulator.journal.ofMessage(id);
    expect(accepted).toHaveLength(1);
    expect(accepted[0]).toMatchObject({ attempt: 1, from: draft.fromAddress, to: draft.toAddress, body: draft.body });
    expect(message).toMatchObject({ attemptCount: 1, providerMessageId: accepted[0]?.providerMessageId });
    const { events } = await on.calls.messages.listMessageEvents({ messageId: id });
    const words = events.filter(({ type }) => type === MessageEvent_Type.PROVIDER_STATUS).map(({ providerStatus }) => providerStatus);
    expect(new Set(words).size).toBe(words.length);
    expect((await on.calls.readMessage(id)).message.status).toBe(MessageStatus.DELIVERED);
  });

  it('is answered into its conversation, and STOP is obeyed', async () => {
    const { theirs } = newPair();
    const draft = smsTo(theirs);
    const id = await sent(on, draft);
    const { conversationId } = await reaches(on, id, MessageStatus.DELIVERED);
    const say = (body: string) => on.simulator.receive({ type: 'sms', from: theirs, to: draft.fromAddress, body });
    expect((await say('On our way!')).ok).toBe(true);
    const { messages } = await on.calls.messages.listMessages({ filter: { conversationIds: [conversationId] } });
    expect(messages[0]).toMatchObject({ direction: Direction.INBOUND, body: 'On our way!', status: MessageStatus.DELIVERED });
    expect((await say('STOP')).ok).toBe(true);
    await expect(sent(on, draft)).rejects.toThrow(/opted out/);
    expect((await say('START')).ok).toBe(true);
    await reaches(on, await sent(on, draft), MessageStatus.DELIVERED);
  });

  it('shows in the metrics', async () => {
    const id = await sent(on, smsTo(newPair().theirs));
    await reaches(on, id, MessageStatus.DELIVERED);
    await vi.waitFor(async () => {
      const metrics = await scrape(on.service);
      expect(metrics.sum('delivery_attempts_total', { provider: 'twilio', outcome: 'accepted' })).toBeGreaterThan(0);
      expect(metrics.sum('delivery_duration_seconds_count', { stage: 'accepted', message_type: 'sms' })).toBeGreaterThan(0);
      expect(metrics.sum('delivery_duration_seconds_count', { stage: 'delivered', message_type: 'sms' })).toBeGreaterThan(0);
      expect(metrics.sum('provider_request_duration_seconds_count', { provider: 'twilio', operation: 'submit' })).toBeGreaterThan(0);
      expect(metrics.sum('webhook_requests_total', { endpoint: 'twilio_status', result: 'applied' })).toBeGreaterThan(0);
    }, patiently);
  });
});

describe('a provider', () => {
  it('that refuses for a while gets every message once, in the end', async () => {
    const on = await own({ faults: { unavailable: 0.3, throttle: 0.1, retryAfterSeconds: 0 } });
    const ids = await Promise.all(Array.from({ length: 8 }, () => sent(on, smsTo(newPair().theirs))));
    for (const id of ids) await reaches(on, id, MessageStatus.DELIVERED);
    expect(ids.map((id) => on.simulator.journal.ofMessage(id).length)).toEqual(ids.map(() => 1));
  });

  it('whose answers are lost is not asked again, and its reports tell', async () => {
    const on = await own({ faults: { dropAfterAccepting: 1 } });
    const id = await sent(on, smsTo(newPair().theirs));
    await reaches(on, id, MessageStatus.DELIVERED);
    expect(on.simulator.journal.ofMessage(id)).toHaveLength(1);
  });

  it('whose answers and reports are lost is asked what it has', async () => {
    const waits = { DISPATCH_CALLBACK_WAIT_MS: '100', DISPATCH_UNKNOWN_WINDOW_MS: '60000' };
    const on = await own({ faults: { dropAfterAccepting: 1, callbacks: false }, env: waits });
    const [sms, email] = [await sent(on, smsTo(newPair().theirs)), await sent(on, mail)];
    for (const id of [sms, email]) {
      const message = await reaches(on, id, MessageStatus.SENT);
      expect(message.providerMessageId).toBe(on.simulator.journal.ofMessage(id)[0]?.providerMessageId);
    }
  });

  it('that never had the message is not asked again either: OUTCOME_UNKNOWN', async () => {
    const waits = { DISPATCH_CALLBACK_WAIT_MS: '100', DISPATCH_UNKNOWN_WINDOW_MS: '300' };
    const on = await own({ faults: { dropBeforeAccepting: 1 }, env: waits });
    const id = await sent(on, smsTo(newPair().theirs));
    const message = await reaches(on, id, MessageStatus.FAILED);
    expect(message).toMatchObject({ attemptCount: 1, failure: { reason: FailureReason.OUTCOME_UNKNOWN, retryable: false } });
    expect(on.simulator.journal.counts.troubles.dropBeforeAccepting).toBe(1);
    const failed = async (...failureReasons: readonly FailureReason[]) => {
      const { messages } = await on.calls.messages.listMessages({ filter: { failureReasons: [...failureReasons] } });
      return messages.map((listed) => listed.id);
    };
    expect(await failed(FailureReason.EXPIRED, FailureReason.OUTCOME_UNKNOWN)).toEqual([id]);
    expect(await failed(FailureReason.REJECTED)).toEqual([]);
    on.simulator.setFaults({ dropBeforeAccepting: 0 });
    await on.calls.messages.retryMessage({ id, force: true });
    expect(await failed(FailureReason.OUTCOME_UNKNOWN)).toEqual([]);
  });

  it('that refuses our credentials fails no message, and readiness says so', async () => {
    const on = await own({ faults: { unauthorized: 1 } });
    const id = await sent(on, smsTo(newPair().theirs));
    await vi.waitFor(async () => {
      const readiness = await (await fetch(`http://127.0.0.1:${on.service.httpPort}/readyz`)).json();
      expect(readiness).toMatchObject({
        status: 'ready',
        dependencies: expect.arrayContaining([expect.objectContaining({ name: 'twilio', ok: false })]),
      });
    }, patiently);
    expect((await on.calls.readMessage(id)).message.status).toBe(MessageStatus.PENDING);
    expect(on.service.output()).toContain('twilio refuses our credentials');
  });
});

describe('processes', () => {
  it('that only serve leave messages to those that only work', async () => {
    const on = await own({ env: { PROCESS_ROLE: 'server' } });
    const id = await sent(on, smsTo(newPair().theirs));
    expect((await on.calls.readMessage(id)).message.status).toBe(MessageStatus.PENDING);
    const worker = await on.startAnother({ PROCESS_ROLE: 'worker' });
    await reaches(on, id, MessageStatus.DELIVERED);
    expect(worker.grpcPort).toBe(0);
    const posted = await fetch(`http://127.0.0.1:${worker.httpPort}/webhooks/twilio/status`, { method: 'POST' });
    expect(posted.status).toBe(404);
  });

  it('that stop begin no attempt, finish those under way and leave the others to the next one', async () => {
    const on = await own({ env: { PROCESS_ROLE: 'server' }, faults: { delayMs: 500 } });
    const ids = await Promise.all([1, 2, 3, 4, 5, 6].map(() => sent(on, smsTo(newPair().theirs))));
    const worker = await on.startAnother({ PROCESS_ROLE: 'worker', TWILIO_MAX_PER_SECOND: '1' });
    await vi.waitFor(() => expect(on.simulator.journal.counts.accepted.twilio).toBeGreaterThan(0), patiently);
    await worker.stop();
    const messages = await Promise.all(ids.map((id) => on.calls.readMessage(id)));
    const accepted = ids.filter((id) => on.simulator.journal.ofMessage(id).length > 0);
    expect(accepted.length).toBeLessThan(ids.length);
    for (const { message } of messages) {
      const isSent = accepted.includes(message.id);
      expect(message).toMatchObject({ attemptCount: isSent ? 1 : 0 });
      if (isSent) expect(message.status).not.toBe(MessageStatus.PENDING);
    }
    await on.startAnother({ PROCESS_ROLE: 'worker' });
    for (const id of ids) await reaches(on, id, MessageStatus.DELIVERED);
    expect(ids.map((id) => on.simulator.journal.ofMessage(id).length)).toEqual(ids.map(() => 1));
  });

  it('without credentials leave messages where they are', async () => {
    const on = await own({ env: { TWILIO_ACCOUNT_SID: '', TWILIO_AUTH_TOKEN: '' } });
    const [sms, email] = [await sent(on, smsTo(newPair().theirs)), await sent(on, mail)];
    await reaches(on, email, MessageStatus.DELIVERED);
    expect((await on.calls.readMessage(sms)).message.status).toBe(MessageStatus.PENDING);
  });
});

describe('one trace', () => {
  it('tells the life of a message: call, dispatch, provider, report', async () => {
    const otlp = await startOtlpReceiver();
    onTestFinished(() => otlp[Symbol.asyncDispose]());
    const on = await own({
      env: { OTEL_EXPORTER_OTLP_ENDPOINT: otlp.endpoint, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json', OTEL_BSP_SCHEDULE_DELAY: '20' },
    });
    const id = await sent(on, smsTo(newPair().theirs));
    await reaches(on, id, MessageStatus.DELIVERED);
    await vi.waitFor(() => {
      const call = otlp.spans().find(({ name }) => name === 'messaging.v1.MessageService/SendMessage');
      const names = otlp
        .spans()
        .filter(({ traceId }) => traceId === call?.traceId)
        .map(({ name }) => name);
      expect(names).toEqual(expect.arrayContaining(['messaging.v1.MessageService/SendMessage', 'dispatch message', 'webhook event']));
      expect(names.some((name) => /submit/i.test(name))).toBe(true);
    }, patiently);
    expect(otlp.bodies.join()).not.toContain('Your table is ready.');
  });
});
