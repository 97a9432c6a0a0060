import { describe, expect, test } from 'vitest';
import { ACCOUNT_SID, eventsOf, formOf, hasSendGridSignature, hasTwilioSignature, MAIL, simulated, TEXT } from '../support/simulated.ts';
import { until } from '../support/until.ts';

const PATH = '/webhooks/twilio/status?message_id=m-1&message_attempt=3&note=a%20b%27c';

/** One text that was told of, and where. */
async function told(options: Parameters<typeof simulated>[0] = {}, fragment = '') {
  const started = await simulated(options);
  const send = async () => await started.texts.create({ ...TEXT, statusCallback: `${started.webhooks.url}${PATH}${fragment}` });
  const words = () => started.webhooks.requests.map((request) => formOf(request)['MessageStatus']);
  return { ...started, send, words };
}

describe("Twilio's status callbacks", () => {
  test('tell of sending and delivery, signed, at the URL of the message', async () => {
    const { send, simulator, webhooks } = await told();
    const { sid } = await send();
    await simulator.idle();
    const common = { MessageSid: sid, SmsSid: sid, AccountSid: ACCOUNT_SID, From: TEXT.from, To: TEXT.to, ApiVersion: '2010-04-01' };
    expect(webhooks.requests.map(formOf)).toEqual([
      { ...common, MessageStatus: 'sent', SmsStatus: 'sent' },
      { ...common, MessageStatus: 'delivered', SmsStatus: 'delivered', RawDlrDoneDate: expect.stringMatching(/^\d{10}$/) },
    ]);
    for (const request of webhooks.requests) {
      expect(request.path).toBe(PATH);
      expect(request.headers['content-type']).toContain('application/x-www-form-urlencoded');
      expect(hasTwilioSignature(request, webhooks.url)).toBe(true);
      expect(hasTwilioSignature(request, 'http://elsewhere')).toBe(false);
    }
    const [accepted] = simulator.journal.ofMessage('m-1');
    expect(accepted).toMatchObject({ providerMessageId: sid, attempt: 3, args: { note: "a b'c" } });
    expect(accepted?.callbacks).toMatchObject([
      { status: 'sent', tries: 1, answer: 200 },
      { status: 'delivered', tries: 1, answer: 200 },
    ]);
  });

  test('tell of every step when asked to', async () => {
    const { send, simulator, words } = await told({ faults: { everyStatus: true } });
    await send();
    await simulator.idle();
    expect(words()).toEqual(['queued', 'sending', 'sent', 'delivered']);
  });

  test('carry a code when the message failed', async () => {
    const { send, simulator, webhooks } = await told({ faults: { phoneOutcome: { failed: 1 }, failedCode: 30_007 } });
    await send();
    await simulator.idle();
    expect(webhooks.requests.map(formOf)).toMatchObject([{ MessageStatus: 'failed', ErrorCode: '30007' }]);
  });

  test('do not come when they are off, though the message meets its fate', async () => {
    const { send, simulator, webhooks, texts } = await told({ faults: { callbacks: false } });
    const { sid } = await send();
    await simulator.idle();
    expect(webhooks.requests).toEqual([]);
    expect((await texts(sid).fetch()).status).toBe('delivered');
  });

  test('are not repeated after an error of ours, unless the URL asks for it', async () => {
    const { send, simulator, webhooks, words } = await told();
    webhooks.answerWith(() => 503);
    const { sid } = await send();
    await simulator.idle();
    expect(words()).toEqual(['sent', 'delivered']);
    expect(simulator.journal.find(sid)?.callbacks).toMatchObject([{ tries: 1, answer: 503 }, { answer: 503 }]);
  });

  test.for([
    ['#rc=5&rp=all', 503, 6],
    ['#rc=2&rp=5xx', 503, 3],
    ['#rc=2&rp=5xx', 404, 1],
    ['#rc=2&rp=4xx,rt', 404, 3],
    ['#rc=2&rp=4xx,rt', 'cut', 3],
    ['#rp=all', 500, 2],
    ['#rc=9&rp=all', 500, 6],
    ['#rc=2&rp=ct', 'cut', 1],
  ] as const)('with %s are tried, when the answer is %s, %i times in all', async ([fragment, answer, tries]) => {
    const { send, simulator, webhooks } = await told({ faults: { phoneOutcome: { none: 1 } } }, fragment);
    webhooks.answerWith(() => answer);
    const { sid } = await send();
    await simulator.idle();
    expect(webhooks.requests).toHaveLength(tries);
    expect(webhooks.requests.every((request) => request.path === PATH && hasTwilioSignature(request, webhooks.url))).toBe(true);
    expect(new Set(webhooks.requests.map(({ headers }) => headers['i-twilio-idempotency-token'])).size).toBe(1);
    expect(simulator.journal.find(sid)?.callbacks).toMatchObject([{ tries, answer: answer === 'cut' ? 'read' : answer }]);
  });

  test('stop being repeated once one was accepted, and may be overtaken until then', async () => {
    const { send, simulator, webhooks, words } = await told({}, '#rc=5&rp=all');
    webhooks.answerWith((_, index) => (index === 0 ? 503 : 200));
    await send();
    await simulator.idle();
    expect(words().toSorted()).toEqual(['delivered', 'sent', 'sent']);
  });

  test('give up on a webhook that does not answer in time', async () => {
    const { send, simulator, webhooks } = await told({ faults: { phoneOutcome: { none: 1 } } }, '#rt=100&rc=0');
    const never = Promise.withResolvers<number>();
    webhooks.answerWith(() => never.promise);
    const { sid } = await send();
    await simulator.idle();
    expect(simulator.journal.find(sid)?.callbacks).toMatchObject([{ tries: 1, answer: 'read' }]);
  });

  test('come again as copies, with the original or after everything else', async () => {
    const { send, simulator, words } = await told({ faults: { duplicate: 1, duplicateCopies: 3 } });
    await send();
    await simulator.idle();
    expect(words().toSorted()).toEqual([...Array(4).fill('delivered'), ...Array(4).fill('sent')]);
    expect(words().slice(words().indexOf('delivered'))).toContain('sent');
  });

  test.for([
    ['their own order', 0],
    ['any order', 1],
  ] as const)('come in %s', async ([, reorder]) => {
    const { send, simulator, webhooks } = await told({ faults: { reorder, everyStatus: true } });
    const sids: string[] = [];
    for (let sent = 0; sent < 20; sent += 1) sids.push((await send()).sid);
    await simulator.idle();
    const forms = webhooks.requests.map(formOf);
    const orders = sids.map((sid) => forms.filter(({ MessageSid }) => MessageSid === sid).map(({ MessageStatus }) => MessageStatus));
    expect(orders.every((order) => new Set(order).size === 4)).toBe(true);
    const distinct = new Set(orders.map(String));
    if (reorder === 0) expect([...distinct]).toEqual(['queued,sending,sent,delivered']);
    else expect(distinct.size).toBeGreaterThan(5);
  });

  test('are posted at most so many at once', async () => {
    const { send, simulator, webhooks } = await told({ maxCallbacksInFlight: 3, faults: { phoneOutcome: { none: 1 } } });
    const gate = Promise.withResolvers<number>();
    webhooks.answerWith(() => gate.promise);
    await Promise.all(Array.from({ length: 10 }, send));
    await until('three are open', () => webhooks.requests.length === 3);
    gate.resolve(200);
    await simulator.idle();
    expect(webhooks.requests).toHaveLength(10);
    expect(webhooks.mostOpen).toBe(3);
  });

  test('do not keep the sender waiting, and end with the simulator', async () => {
    const { send, simulator, webhooks } = await told();
    webhooks.answerWith(() => new Promise(() => {}));
    const { sid } = await send();
    await until('it is told', () => webhooks.requests.length === 1);
    const idle = simulator.idle();
    await simulator[Symbol.asyncDispose]();
    await idle;
    expect(simulator.pending).toBe(0);
    expect(simulator.journal.find(sid)?.callbacks.at(0)).toMatchObject({ answer: 'cancelled' });
  });

  test('can be asked for', async () => {
    const { send, simulator, webhooks, texts } = await told({ faults: { callbacks: false } });
    const { sid } = await send();
    const { answer } = await simulator.report({ providerMessageId: sid, status: 'undelivered', code: 30_006 });
    expect(answer).toMatchObject({ kind: 'answered', status: 200 });
    expect(webhooks.requests.map(formOf)).toMatchObject([{ MessageStatus: 'undelivered', ErrorCode: '30006' }]);
    expect(await texts(sid).fetch()).toMatchObject({ status: 'undelivered', errorCode: 30_006 });
    await expect(simulator.report({ providerMessageId: sid, status: 'open' })).rejects.toThrow(RangeError);
    await expect(simulator.report({ providerMessageId: 'SM1', status: 'read' })).rejects.toThrow('no such message');
  });
});

describe("SendGrid's events", () => {
  const args = { message_id: 'm-1', message_attempt: '2' };

  test('come signed, with our arguments beside their own fields', async () => {
    const { mails, simulator, webhooks } = await simulated();
    await mails.send({ ...MAIL, customArgs: args });
    await simulator.idle();
    const [accepted] = simulator.journal.ofMessage('m-1');
    const common = { ...args, email: MAIL.to, sg_message_id: accepted?.provider === 'sendgrid' && accepted.sgMessageId };
    const events = webhooks.requests.flatMap(eventsOf);
    expect(events).toMatchObject([
      { ...common, event: 'processed', timestamp: Math.floor((accepted?.acceptedAtMs ?? 0) / 1_000) },
      { ...common, event: 'delivered', response: '250 2.0.0 OK' },
    ]);
    expect(new Set(events.map(({ sg_event_id }) => sg_event_id)).size).toBe(2);
    for (const request of webhooks.requests) {
      expect(request.path).toBe('/webhooks/sendgrid/events');
      expect(hasSendGridSignature(request)).toBe(true);
      expect(hasSendGridSignature({ ...request, body: Buffer.from(`${request.body} `) })).toBe(false);
    }
  });

  test.for([
    ['bounce', ['processed', 'bounce'], { type: 'bounce', status: '5.1.1' }],
    ['blocked', ['processed', 'bounce'], { type: 'blocked' }],
    ['dropped', ['dropped'], { reason: 'Bounced Address' }],
    ['none', ['processed'], {}],
  ] as const)('tell how it ended: %s', async ([outcome, words, fields]) => {
    const { mails, simulator, webhooks } = await simulated({ faults: { emailOutcome: { [outcome]: 1 } } });
    await mails.send(MAIL);
    await simulator.idle();
    const events = webhooks.requests.flatMap(eventsOf);
    expect(events.map(({ event }) => event)).toEqual(words);
    expect(events.at(-1)).toMatchObject(fields);
  });

  test("do not let our arguments replace SendGrid's own fields", async () => {
    const { mails, simulator, webhooks } = await simulated({ faults: { everyStatus: true } });
    await mails.send({ ...MAIL, customArgs: { attempt: '7', email: 'x' } });
    await simulator.idle();
    const deferred = webhooks.requests.flatMap(eventsOf).find(({ event }) => event === 'deferred');
    expect(deferred).toMatchObject({ attempt: '1', email: MAIL.to });
  });

  test('of several messages share a post', async () => {
    const { mails, simulator, webhooks } = await simulated({ eventBatchMs: 200, faults: { emailOutcome: { none: 1 } } });
    await Promise.all(Array.from({ length: 5 }, () => mails.send(MAIL)));
    await simulator.idle();
    expect(webhooks.requests.map((request) => eventsOf(request).length)).toEqual([5]);
  });

  test('are posted again until they are accepted, signed anew, with the same ids', async () => {
    let nowMs = Date.UTC(2026, 0, 1);
    const { mails, simulator, webhooks } = await simulated({ now: () => (nowMs += 1_000), faults: { emailOutcome: { none: 1 } } });
    webhooks.answerWith((_, index) => ([403, 302, 'cut', 500, 200] as const)[index] ?? 200);
    await mails.send(MAIL);
    await simulator.idle();
    expect(webhooks.requests).toHaveLength(5);
    expect(webhooks.requests.every(hasSendGridSignature)).toBe(true);
    const timestamps = webhooks.requests.map(({ headers }) => headers['x-twilio-email-event-webhook-timestamp']);
    expect(new Set(timestamps).size).toBe(5);
    expect(new Set(webhooks.requests.map(({ body }) => body.toString())).size).toBe(1);
    expect(simulator.journal.messages()[0]?.callbacks).toMatchObject([{ status: 'processed', tries: 5, answer: 200 }]);
    expect(simulator.journal.counts.posts).toEqual({ accepted: 1, refused: 3, unanswered: 1 });
  });

  test('come again as copies with the same id', async () => {
    const { mails, simulator, webhooks } = await simulated({ faults: { duplicate: 1, duplicateCopies: 2, reorder: 1 } });
    await mails.send(MAIL);
    await simulator.idle();
    const ids = webhooks.requests.flatMap(eventsOf).map(({ event, sg_event_id }) => `${event} ${sg_event_id}`);
    expect(ids).toHaveLength(6);
    expect(new Set(ids).size).toBe(2);
  });

  test.for(['open', 'click', 'spamreport', 'unsubscribe', 'group_unsubscribe', 'group_resubscribe', 'bounce'])(
    'can be asked for: %s',
    async (event) => {
      const { mails, simulator, webhooks } = await simulated({ faults: { callbacks: false } });
      const [{ headers }] = await mails.send({ ...MAIL, customArgs: args });
      const providerMessageId = (headers as Record<string, string>)['x-message-id'] ?? '';
      const { tries } = await simulator.report({ providerMessageId, status: event });
      expect(tries).toBe(1);
      expect(webhooks.requests.flatMap(eventsOf)).toMatchObject([{ ...args, event, email: MAIL.to }]);
    },
  );

  test('go nowhere as long as there is no webhook', async () => {
    const { mails, simulator, webhooks } = await simulated({ webhookUrl: undefined });
    await mails.send(MAIL);
    await simulator.idle();
    expect(simulator.journal.messages()[0]?.callbacks).toMatchObject([{ answer: 'unaddressed' }, { answer: 'unaddressed' }]);
    simulator.setWebhookUrl(webhooks.url);
    await mails.send(MAIL);
    await simulator.idle();
    expect(webhooks.requests.flatMap(eventsOf)).toHaveLength(2);
  });
});
