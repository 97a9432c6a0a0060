import { describe, expect, test } from 'vitest';
import { type Faults, faultsOf } from '../../src/dev/simulator-faults.ts';
import { MAIL, mailService, simulated, TEXT, twilioClient } from '../support/simulated.ts';
import { until } from '../support/until.ts';

type Answer = Awaited<ReturnType<typeof simulated>>;

/** Status and code of Twilio's answer, or that of the broken connection. */
async function textAnswer({ texts }: Answer): Promise<unknown> {
  const send = async () => (await texts.create(TEXT)).status;
  return await send().catch(({ status, code }: { status?: number; code?: unknown }) => (status === undefined ? code : [status, code]));
}

async function mailAnswer({ mails }: Answer): Promise<unknown> {
  const send = async () => (await mails.send(MAIL))[0].statusCode;
  return await send().catch(({ code }: { code: unknown }) => code);
}

describe('the faults of the simulator', () => {
  test.for([
    ['fail', 0, [500, 20_500], 500],
    ['unavailable', 0, [503, 20_503], 503],
    ['throttle', 0, [429, 20_429], 429],
    ['reject', 0, [400, 21_614], 400],
    ['unauthorized', 0, [401, 20_003], 401],
    ['dropBeforeAccepting', 0, 'ECONNRESET', 'ECONNRESET'],
    ['dropAfterAccepting', 2, 'ECONNRESET', 'ECONNRESET'],
    ['failAfterAccepting', 2, [500, 20_500], 500],
  ] as const)('%s: %i of two messages are accepted', async ([trouble, accepted, text, mail]) => {
    const started = await simulated({ faults: { [trouble]: 1, rejectCode: 21_614 } });
    const { simulator, webhooks } = started;
    expect(await textAnswer(started)).toEqual(text);
    expect(await mailAnswer(started)).toEqual(mail);
    await simulator.idle();
    expect(simulator.journal.messages()).toHaveLength(accepted);
    expect(simulator.journal.counts.troubles[trouble]).toBe(2);
    // The mail is told of; the text has no StatusCallback.
    expect(webhooks.requests.length > 0).toBe(accepted > 0);
    simulator.setFaults({});
    expect(await textAnswer(started)).toBe('queued');
  });

  test('stallAfterAccepting: accepted, and the client waits until it gives up', async () => {
    const { simulator } = await simulated({ faults: { stallAfterAccepting: 1 } });
    const impatient = twilioClient(simulator.url);
    impatient.timeout = 50;
    await expect(impatient.messages.create(TEXT)).rejects.toMatchObject({ code: 'ECONNABORTED' });
    expect(simulator.journal.counts.accepted.twilio).toBe(1);
  });

  test('a throttled client is told when to come back', async () => {
    const { simulator, texts } = await simulated({ faults: { throttle: 1, retryAfterSeconds: 7 } });
    await expect(texts.create(TEXT)).rejects.toMatchObject({ status: 429 });
    const { headers } = await mailService(simulator.url)
      .send(MAIL)
      .then(
        () => Promise.reject(new Error('accepted')),
        (error: { response: { headers: Record<string, string> } }) => error.response,
      );
    expect(headers).toMatchObject({ 'retry-after': '7', 'x-ratelimit-remaining': '0' });
  });

  test('an answer may take its time, after it was accepted', async () => {
    const { simulator, texts } = await simulated({ faults: { delayMs: 100 } });
    const startedMs = performance.now();
    const sending = texts.create(TEXT);
    await until('it is accepted', () => simulator.journal.counts.accepted.twilio === 1);
    await sending;
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(99);
  });

  test('lookups fail by a share of their own', async () => {
    const { texts, activity, simulator } = await simulated({ faults: { lookupFail: 1 } });
    const { sid } = await texts.create(TEXT);
    await expect(texts(sid).fetch()).rejects.toMatchObject({ status: 500 });
    await expect(activity.request({ url: '/v3/messages', qs: { query: 'to_email="x"' } })).rejects.toMatchObject({ code: 500 });
    expect(simulator.journal.counts.lookups).toBe(2);
  });

  test('the same seed gives the same ids, troubles and fates; another seed others', async () => {
    const faults: Partial<Faults> = {
      fail: 0.2,
      throttle: 0.2,
      dropAfterAccepting: 0.2,
      phoneOutcome: { delivered: 1, undelivered: 1, failed: 1 },
      duplicate: 0.5,
      reorder: 0.5,
    };
    const story = async (seed: number) => {
      const started = await simulated({ seed, faults });
      const answers: unknown[] = [];
      for (let sent = 0; sent < 15; sent += 1) answers.push(await textAnswer(started), await mailAnswer(started));
      const accepted = started.simulator.journal.messages();
      return { answers, accepted: accepted.map(({ providerMessageId, steps }) => [providerMessageId, steps]) };
    };
    const first = await story(7);
    expect(new Set(first.answers.map(String)).size).toBeGreaterThan(3);
    expect(await story(7)).toEqual(first);
    expect(await story(8)).not.toEqual(first);
  });

  test('shares are shares of all requests', async () => {
    const { simulator, texts } = await simulated({ faults: { fail: 0.25, throttle: 0.25, callbacks: false } });
    const answers = await Promise.allSettled(Array.from({ length: 400 }, () => texts.create(TEXT)));
    const accepted = answers.filter(({ status }) => status === 'fulfilled').length;
    const { fail, throttle } = simulator.journal.counts.troubles;
    expect(fail + throttle + accepted).toBe(400);
    for (const [count, expected] of [
      [fail, 100],
      [throttle, 100],
      [accepted, 200],
    ] as const) {
      expect(Math.abs(count - expected)).toBeLessThan(40);
    }
  });

  test('down refuses connections and cuts those there are; up serves on the same port', async () => {
    const started = await simulated({ faults: { stallAfterAccepting: 1 } });
    const { simulator } = started;
    const stalled = textAnswer(started);
    await until('it is accepted', () => simulator.journal.counts.accepted.twilio === 1);
    await simulator.down();
    expect(await stalled).toBe('ECONNRESET');
    expect(await textAnswer(started)).toBe('ECONNREFUSED');
    await simulator.down();
    await simulator.up();
    await simulator.up();
    simulator.setFaults({});
    expect(await textAnswer(started)).toBe('queued');
  });

  test.for([
    ['no such fault', { explode: 1 }, 'there is no fault "explode"'],
    ['a share above 1', { fail: 1.5 }, 'fail must be a share from 0 to 1'],
    ['shares that add up to more than 1', { fail: 0.6, throttle: 0.6 }, 'more than 1'],
    ['a range that goes back', { callbackDelayMs: [2, 1] }, 'callbackDelayMs must be'],
    ['an outcome that is none', { phoneOutcome: { bounce: 1 } }, 'phoneOutcome must be weights'],
    ['no outcome', { emailOutcome: { delivered: 0 } }, 'one of them above 0'],
    ['a switch that is a number', { callbacks: 1 }, 'callbacks must be true or false'],
    ['a delay without end', { delayMs: 1e9 }, 'delayMs must be a whole number'],
  ] as const)('%s is refused', ([, named, message]) => {
    expect(() => faultsOf(named)).toThrow(RangeError);
    expect(() => faultsOf(named)).toThrow(message);
  });
});

describe('the journal', () => {
  test('forgets the oldest messages, and counts them', async () => {
    const { simulator, texts } = await simulated({ maxMessages: 10, faults: { callbacks: false } });
    const sids: string[] = [];
    for (let sent = 0; sent < 11; sent += 1) {
      sids.push((await texts.create({ ...TEXT, statusCallback: 'http://localhost/?message_id=m-1' })).sid);
    }
    const { journal } = simulator;
    expect(journal.messages().map(({ providerMessageId }) => providerMessageId)).toEqual(sids.slice(1).toReversed());
    expect(journal.find(sids[0] ?? '')).toBeUndefined();
    expect(journal.ofMessage('m-1')).toHaveLength(10);
    expect(journal.counts).toMatchObject({ accepted: { twilio: 11 }, forgotten: 1 });
  });

  test('keeps the beginning of a long body and the digest of all of it', async () => {
    const { simulator, mails } = await simulated({ faults: { callbacks: false } });
    await mails.send({ ...MAIL, text: `${'x'.repeat(4_000)}a` });
    await mails.send({ ...MAIL, text: `${'x'.repeat(4_000)}b` });
    const [second, first] = simulator.journal.messages();
    expect(first?.body).toBe('x'.repeat(3_200));
    expect(second?.body).toBe(first?.body);
    expect(second?.bodyDigest).not.toBe(first?.bodyDigest);
  });
});
