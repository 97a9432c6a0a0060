/** The simulator and Twilio's SDK against the OpenAPI document that Twilio publishes. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { listExamples, loadMessageOperations, startPrismProxy } from '../support/prism-proxy.ts';
import { ACCOUNT_SID, AUTH_TOKEN, simulated, TEXT, twilioClient } from '../support/simulated.ts';

let operations: Awaited<ReturnType<typeof loadMessageOperations>>;
beforeAll(async () => {
  operations = await loadMessageOperations();
}, 30_000);

async function judged(upstream: string, authToken?: string) {
  const proxy = await startPrismProxy(operations, upstream);
  onTestFinished(async () => await proxy[Symbol.asyncDispose]());
  return { proxy, texts: twilioClient(proxy.url, authToken).messages };
}

/** A server that answers everything with this. */
async function answering(status: number, value: unknown): Promise<string> {
  const server = createServer((incoming, response) => {
    incoming.resume().on('end', () => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close().closeAllConnections());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A resource as the simulator answers it. */
async function rawResource(): Promise<Readonly<Record<string, unknown>>> {
  const { simulator } = await simulated();
  const response = await fetch(`${simulator.url}/2010-04-01/Accounts/${ACCOUNT_SID}/Messages.json`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${ACCOUNT_SID}:${AUTH_TOKEN}`).toString('base64')}` },
    body: new URLSearchParams({ From: TEXT.from, To: TEXT.to, Body: TEXT.body }),
  });
  return (await response.json()) as Readonly<Record<string, unknown>>;
}

describe("against Twilio's document", () => {
  test('requests of the SDK and answers of the simulator have no violation', async () => {
    const { simulator } = await simulated({ faults: { phoneOutcome: { delivered: 1, undelivered: 1, failed: 1, none: 1 } } });
    const { proxy, texts } = await judged(simulator.url);
    const { from, ...draft } = TEXT;
    const first = await texts.create(TEXT);
    await texts.create({ ...TEXT, mediaUrl: ['https://example.com/a.png', 'https://example.com/b.png?c=d&e=f'] });
    await texts.create({ ...draft, messagingServiceSid: `MG${'b'.repeat(32)}` });
    const statusCallback = 'http://localhost:1/status?message_id=m-1#rc=0&rp=all';
    await texts.create({ ...TEXT, body: 'Grüße & 😀 + 1', statusCallback, validityPeriod: 600, smartEncoded: true });
    for (let sent = 0; sent < 20; sent += 1) await texts.create(TEXT);
    await simulator.idle();
    await texts(first.sid).fetch();
    const filter = { to: TEXT.to, from, dateSentAfter: new Date(Date.now() - 60_000), dateSentBefore: new Date(Date.now() + 60_000) };
    expect(await texts.list({ ...filter, pageSize: 10 })).toHaveLength(23);
    expect(await texts.list({ to: '+14155550199' })).toEqual([]);
    expect(proxy.violations).toEqual([]);
    expect(proxy.exchanges).toBe(24 + 1 + 3 + 1);
  });

  test('nothing is wrong with errors, but that the document does not list their HTTP status', async () => {
    const { simulator } = await simulated();
    const { proxy, texts } = await judged(simulator.url);
    const wrongToken = await judged(simulator.url, 'wrong');
    const refused = [
      [() => texts.create({ ...TEXT, to: '+15005550001' }), { status: 400, code: 21_211 }],
      [() => texts(`SM${'0'.repeat(32)}`).fetch(), { status: 404, code: 20_404 }],
      [() => wrongToken.texts.create(TEXT), { status: 401, code: 20_003 }],
    ] as const;
    for (const [request, error] of refused) {
      const moreInfo = `https://www.twilio.com/docs/errors/${error.code}`;
      await expect(request()).rejects.toMatchObject({ ...error, moreInfo, message: expect.any(String) });
    }
    expect(proxy.violations).toHaveLength(2);
    for (const { side, severity, message } of [...proxy.violations, ...wrongToken.proxy.violations]) {
      expect([side, severity, message]).toEqual(['answer', 'warning', expect.stringContaining('Unable to match the returned status code')]);
    }
    for (const trouble of ['fail', 'unavailable', 'throttle', 'reject', 'unauthorized']) {
      simulator.setFaults({ [trouble]: 1 });
      await expect(texts.create(TEXT)).rejects.toMatchObject({ code: expect.any(Number), moreInfo: expect.any(String) });
    }
    expect(proxy.violations.filter(({ severity }) => severity === 'error')).toEqual([]);
  });
});

describe('the judge', () => {
  test("accepts Twilio's own examples", async () => {
    const examples = await listExamples();
    expect(examples.length).toBeGreaterThan(3);
    for (const example of examples) {
      const { proxy, texts } = await judged(await answering(200, example));
      await texts.page({ pageSize: 50 });
      expect(proxy.violations).toEqual([]);
    }
  });

  test.for([
    ['a number where a string belongs', { num_segments: 1 }, 'num_segments'],
    ['a SID that is none', { sid: 'SM1' }, 'sid'],
    ['an unknown status', { status: 'posted' }, 'status'],
    ['an error code as text', { error_code: '30003' }, 'error_code'],
    ['an unknown direction', { direction: 'outbound' }, 'direction'],
    ['no account', { account_sid: '' }, 'account_sid'],
    ['a body that is none', { body: 1 }, 'body.body'],
  ] as const)('reports an answer with %s', async ([, mutation, property]) => {
    const { proxy, texts } = await judged(await answering(201, { ...(await rawResource()), ...mutation }));
    await texts.create(TEXT);
    expect(proxy.violations).toContainEqual({ side: 'answer', severity: 'error', message: expect.stringContaining(property) });
  });

  test('reports a request that is not as the document says', async () => {
    const { simulator } = await simulated();
    const { proxy, texts } = await judged(simulator.url);
    await expect(texts.create({ ...TEXT, messagingServiceSid: 'MG1' })).rejects.toMatchObject({ code: 21_701 });
    const message = expect.stringContaining('MessagingServiceSid');
    expect(proxy.violations).toContainEqual({ side: 'request', severity: 'error', message });
  });
});
