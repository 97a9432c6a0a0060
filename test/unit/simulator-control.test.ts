import { describe, expect, onTestFinished, test } from 'vitest';
import { superviseUntil } from '../../src/dev/supervised-process.ts';
import { formOf, MAIL, mailService, simulated, TEXT } from '../support/simulated.ts';
import { until } from '../support/until.ts';

async function ask(url: string, method: string, path: string, value?: unknown) {
  const response = await fetch(`${url}/simulator${path}`, { method, ...(value === undefined ? {} : { body: JSON.stringify(value) }) });
  return { status: response.status, value: (await response.json()) as Record<string, unknown> };
}

async function controlled(options: Parameters<typeof simulated>[0] = {}) {
  const started = await simulated(options);
  const { url } = started.simulator;
  return { ...started, control: (method: string, path: string, value?: unknown) => ask(url, method, path, value) };
}

describe('the control of the simulator over HTTP', () => {
  test('shows its state and its journal', async () => {
    const { control, texts, webhooks, simulator } = await controlled();
    const statusCallback = `${webhooks.url}/status?message_id=m-1`;
    const first = await texts.create({ ...TEXT, statusCallback });
    const second = await texts.create(TEXT);
    await simulator.idle();
    expect(await control('GET', '')).toMatchObject({
      status: 200,
      value: { webhookUrl: webhooks.url, pending: 0, faults: { fail: 0 }, counts: { accepted: { twilio: 2 }, posts: { accepted: 2 } } },
    });
    expect((await control('GET', '/journal?limit=1')).value).toMatchObject({ messages: [{ providerMessageId: second.sid }] });
    expect((await control('GET', '/journal?messageId=m-1')).value).toMatchObject({
      messages: [{ providerMessageId: first.sid, ...TEXT, callbacks: [{ answer: 200 }, { answer: 200 }] }],
    });
  });

  test('sets faults, all of them, and says what is wrong with one', async () => {
    const { control, texts, simulator } = await controlled({ faults: { throttle: 1 } });
    expect(await control('PUT', '/faults', { reject: 1, rejectCode: 21_614 })).toMatchObject({
      status: 200,
      value: { faults: { throttle: 0 } },
    });
    await expect(texts.create(TEXT)).rejects.toMatchObject({ code: 21_614 });
    expect(await control('PUT', '/faults', { reject: 2 })).toEqual({ status: 400, value: { error: 'reject must be a share from 0 to 1' } });
    expect(simulator.faults.reject).toBe(1);
  });

  test('brings messages in, once it knows where to', async () => {
    const { control, webhooks } = await controlled({ webhookUrl: undefined });
    const inbound = {
      type: 'mms',
      from: TEXT.to,
      to: TEXT.from,
      body: 'Hi',
      media: [{ url: 'https://example.com/a', contentType: 'image/png' }],
    };
    expect((await control('POST', '/receive', inbound)).value).toMatchObject({ ok: false });
    await control('PUT', '/webhook', { url: `${webhooks.url}/` });
    expect((await control('POST', '/receive', inbound)).value).toMatchObject({ ok: true });
    const mail = { type: 'email', from: MAIL.to, to: MAIL.from, subject: 'Re', body: 'Hi', headers: { References: '<a@b>' } };
    const attachments = [{ filename: 'a.txt', contentType: 'text/plain', content: 'aGVsbG8=' }];
    expect((await control('POST', '/receive', { ...mail, attachments })).value).toMatchObject({ ok: true, tries: 1 });
    expect(webhooks.requests.map(({ path }) => path)).toEqual(['/webhooks/twilio/inbound', '/webhooks/sendgrid/inbound']);
    expect(webhooks.requests.slice(0, 1).map(formOf)).toMatchObject([{ Body: 'Hi', NumMedia: '1' }]);
    expect(webhooks.requests[1]?.body.toString()).toContain('hello');
  });

  test('reports events', async () => {
    const { control, texts, webhooks } = await controlled({ faults: { callbacks: false } });
    const { sid } = await texts.create({ ...TEXT, statusCallback: webhooks.url });
    expect(await control('POST', '/report', { providerMessageId: sid, status: 'failed', code: 30_007 })).toMatchObject({ status: 200 });
    expect(webhooks.requests.map(formOf)).toMatchObject([{ MessageStatus: 'failed', ErrorCode: '30007' }]);
  });

  test('takes it down for a while', async () => {
    const { control, simulator } = await controlled();
    expect(await control('POST', '/down', { forMs: 200 })).toEqual({ status: 200, value: { downForMs: 200 } });
    await until(
      'it is down',
      async () =>
        await control('GET', '').then(
          () => false,
          () => true,
        ),
      5_000,
    );
    await until('it is up', async () => (await control('GET', '')).status === 200, 5_000);
    expect((await fetch(`${simulator.url}/simulator/`)).status).toBe(200);
  });

  test.for([
    ['an unknown path', 'GET', '/nothing', undefined, 404, undefined],
    ['what is not an object', 'PUT', '/faults', [], 400, 'the body must be a JSON object'],
    ['a limit that is none', 'GET', '/journal?limit=x', undefined, 400, 'limit must be a whole number from 1 to 10000'],
    ['an unknown type', 'POST', '/receive', { type: 'fax', from: 'a', to: 'b' }, 400, 'type must be sms, mms or email'],
    ['no sender', 'POST', '/receive', { type: 'sms', to: 'b' }, 400, 'from must be a string'],
    [
      'media that are none',
      'POST',
      '/receive',
      { type: 'mms', from: 'a', to: 'b', media: [1] },
      400,
      'media must be a list of at most 20 objects',
    ],
    [
      'headers that break out',
      'POST',
      '/receive',
      { type: 'email', from: 'a', to: 'b', headers: { 'a\nb': '' } },
      400,
      'headers must be an object of strings',
    ],
    ['an unknown message', 'POST', '/report', { providerMessageId: 'SM1', status: 'read' }, 400, 'there is no such message'],
    ['a webhook that is no URL', 'PUT', '/webhook', { url: 'localhost' }, 400, 'url must begin with http://'],
    ['no time to be down', 'POST', '/down', {}, 400, 'forMs must be a whole number from 1 to 600000'],
  ] as const)('refuses %s', async ([, method, path, value, status, error]) => {
    const { control } = await controlled();
    const answer = await control(method, path, value);
    expect(answer.status).toBe(status);
    if (error !== undefined) expect(answer.value).toEqual({ error });
  });

  test('refuses bodies beyond the limit of each API', async () => {
    const { control, simulator, texts } = await controlled();
    expect((await control('PUT', '/faults', { fail: 'x'.repeat(8 * 1_024 * 1_024) })).status).toBe(413);
    await expect(texts.create({ ...TEXT, body: 'x'.repeat(256 * 1_024) })).rejects.toMatchObject({ status: 413 });
    const content = 'A'.repeat(31 * 1_024 * 1_024);
    const mail = mailService(simulator.url).send({ ...MAIL, attachments: [{ content, filename: 'a' }] });
    await expect(mail).rejects.toMatchObject({ code: 413 });
    expect(simulator.journal.messages()).toEqual([]);
  });
});

describe('the simulator as a process', () => {
  async function start(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    let output = '';
    const simulator = await superviseUntil((text) => text.includes('Ctrl-C stops it'), {
      command: process.execPath,
      args: ['src/dev/simulate.ts', '--port', '0', ...args],
      stopSignal: 'SIGTERM',
      env: { ...process.env, ...env },
      onOutput: (text) => {
        output += text;
      },
    });
    onTestFinished(async () => void (await simulator.kill()));
    return { simulator, output, url: /http:\/\/127\.0\.0\.1:\d+/.exec(output)?.[0] ?? '' };
  }

  test('takes options and variables, says how it is used, and ends when it is told to', async () => {
    const { simulator, output, url } = await start(['--api-key', 'SG.mine'], {
      SIMULATOR_WEBHOOK_URL: 'http://localhost:1/',
      SIMULATOR_SEED: '7',
    });
    expect(output).toContain('API key SG.mine');
    expect(output).toMatch(/seed +7\n/);
    expect((await ask(url, 'GET', '')).value).toMatchObject({ webhookUrl: 'http://localhost:1' });
    expect(await simulator.stop()).toBe(0);
  });

  test('refuses an option it does not have', async () => {
    await expect(start(['--explode', 'yes'])).rejects.toThrow("Unknown option '--explode'");
  });
});
