/** What the status page is made of, and who may see and do it. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { MessageStatus } from '../../gen/messaging/v1/message_pb.js';
import { startTestApp } from '../support/apps.ts';
import { patiently } from '../support/cached-service.ts';
import { createDatabase } from '../support/database.ts';
import { authorization, STATUS_TOKEN, type StatusWorld, startStatusWorld } from '../support/status-world.ts';
import { until } from '../support/until.ts';

const HOSTILE = '</script><img src=x onerror=alert(1)>';
const secrets = { TWILIO_AUTH_TOKEN_SECONDARY: 'canarytoken5c1d', SENDER_ADDRESSES: '+14155552671,canary5c1d@example.com' };

const opened = new AsyncDisposableStack();
let world: StatusWorld;
beforeAll(async () => {
  world = opened.use(await startStatusWorld({ ...secrets, LOG_LEVEL: 'debug' }));
});
afterAll(() => opened.disposeAsync());

const get = (path: string, headers: Readonly<Record<string, string>> = {}) => fetch(`${world.origin}${path}`, { headers });
const pages = ['/status', '/status.json'];
const actions = ['/status/retry-message', '/status/replay-webhook'];

describe('without STATUS_TOKEN', () => {
  it('there is no status page', async () => {
    await using database = await createDatabase();
    await using app = await startTestApp({ DATABASE_URL: database.url });
    for (const path of [...pages, ...actions]) {
      const response = await fetch(`http://127.0.0.1:${app.httpPort}${path}`, { headers: { authorization: authorization('') } });
      expect(response.status).toBe(404);
    }
  });
});

describe('the status page', () => {
  it('is nothing for strangers, who are told how to sign in', async () => {
    for (const path of pages) {
      const response = await get(path);
      expect([response.status, response.headers.get('www-authenticate')]).toEqual([401, 'Basic realm="status", charset="UTF-8"']);
      expect((await get(path, { authorization: authorization('a wrong token, but long') })).status).toBe(401);
    }
    for (const path of actions) expect((await world.act(path, { id: randomUUID() }, { authorization: '' })).status).toBe(401);
  });

  it('is not kept by browsers, and not framed', async () => {
    const response = await get('/status', { authorization: authorization() });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(response.headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
  });

  it('shows rates, reads, dependencies, breakers, queue and process', async () => {
    // Of a machine that is busy a part may come too late for one snapshot, or Redis for one read.
    await vi.waitFor(async () => {
      await world.traffic();
      const { about, state, dependencies, breakers, rates, cache, queue, process, history } = await world.snapshot();
      expect(about).toMatchObject({ role: 'all', version: expect.stringMatching(/^\d+\.\d+\.\d+/) });
      expect(about.uptimeMs).toBeGreaterThan(0);
      expect(state).toBe('ready');
      expect(dependencies?.map(({ name }) => name)).toEqual(['postgresql', 'redis', 'twilio', 'sendgrid']);
      expect(breakers.map(({ name }) => name)).toEqual(['redis', 'twilio', 'sendgrid']);
      // One of nine finds nothing.
      const read = rates.methods.find(({ method }) => method === 'GetMessage');
      expect(read).toMatchObject({ failedShare: 0, refusedShare: expect.closeTo(1 / 9), p99Ms: expect.any(Number) });
      expect(read?.calls).toBeGreaterThanOrEqual(9);
      const isCached = inject('redis') !== null;
      expect([cache.on, cache.trusted, cache.outbox !== null, rates.reads.redis > 0]).toEqual(Array(4).fill(isCached));
      expect(queue?.map(({ provider }) => provider)).toEqual(['twilio', 'sendgrid']);
      expect(process.memoryBytes).toBeGreaterThan(0);
      expect(process.pool.idle).toBeGreaterThan(0);
      expect(history.stepMs).toBe(5_000);
    }, patiently);
  });

  it('shows the configuration without its secrets and addresses', async () => {
    const { settings } = await world.snapshot();
    const settingOf = (name: string) => settings.find((setting) => setting.name === name);
    expect(settingOf('DATABASE_URL')).toEqual({ name: 'DATABASE_URL', value: 'set', isSet: true });
    expect(settingOf('STATUS_TOKEN')?.value).toBe('set');
    expect(settingOf('TWILIO_AUTH_TOKEN')?.value).toBe('set');
    expect(settingOf('SENDER_ADDRESSES')?.value).toBe('2 set');
    expect(settingOf('REDIS_PASSWORD')).toEqual({ name: 'REDIS_PASSWORD', value: '', isSet: false });
    expect(settingOf('CACHE_TTL_SECONDS')).toEqual({ name: 'CACHE_TTL_SECONDS', value: '300', isSet: false });
  });

  it('holds no body, address or token, whatever there is to tell', async () => {
    const { delivering, deadLetter, quarantined, snapshot } = world;
    const body = 'canarybody5c1d';
    const { id } = await delivering.calls.send({ toAddress: '+12125550142', body });
    await quarantined(id, 'event 1: canary5c1d@example.com, +12125550142');
    await deadLetter('expired', true);
    await until('it shows both', async () => {
      const { deadLetters, webhooks } = await snapshot();
      return deadLetters?.items.length === 1 && webhooks?.quarantined.items.length === 1;
    });
    const documents = await Promise.all(pages.map(async (path) => (await get(path, { authorization: authorization() })).text()));
    const canaries = [
      body,
      '12125550142',
      '14155552680',
      '14155552671',
      'canary5c1d@',
      'canarytoken5c1d',
      STATUS_TOKEN,
      delivering.databaseUrl,
    ];
    for (const canary of canaries) for (const text of documents) expect(text).not.toContain(canary);
    for (const canary of [STATUS_TOKEN, authorization()]) expect(delivering.service.output()).not.toContain(canary);
  });
});

describe('an action', () => {
  it('is refused to whatever is not our page', async () => {
    const id = await world.deadLetter('expired', true);
    for (const headers of [
      { 'content-type': 'text/plain' },
      { 'content-type': 'application/x-www-form-urlencoded' },
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
    ]) {
      expect((await world.act('/status/retry-message', { id }, headers)).status).toBe(403);
    }
    const plain = { authorization: authorization(), 'content-type': 'application/json' };
    const withoutHeader = await fetch(`${world.origin}/status/retry-message`, {
      method: 'POST',
      headers: plain,
      body: JSON.stringify({ id }),
    });
    expect(withoutHeader.status).toBe(403);
    const preflight = await fetch(`${world.origin}/status/retry-message`, { method: 'OPTIONS' });
    expect([preflight.status, preflight.headers.get('access-control-allow-origin')]).toEqual([405, null]);
    expect((await world.delivering.calls.readMessage(id)).message.status).toBe(MessageStatus.FAILED);
  });

  it.each([
    ['no id', {}],
    ['no UUID', { id: `${HOSTILE}` }],
    ['a word for force', { id: randomUUID(), force: 'yes' }],
    ['no object', null],
    ['more than fits', { id: 'x'.repeat(2_000) }],
  ])('with %s makes no sense', async (_, command) => {
    expect((await world.act('/status/retry-message', command)).status).toBe(400);
  });

  it('sends a dead letter again, and is logged', async () => {
    const id = await world.deadLetter('attempts_exhausted', true);
    const response = await world.act('/status/retry-message', { id });
    expect([response.status, await response.json()]).toEqual([200, { status: 'pending' }]);
    await until('it is delivered', async () => (await world.delivering.calls.readMessage(id)).message.status === MessageStatus.DELIVERED);
    const lines = world.delivering.service.output().split('\n');
    const logged = lines.filter((line) => line.includes('operator acted') && line.includes(id)).map((line) => JSON.parse(line));
    expect(logged).toEqual([expect.objectContaining({ level: 'info', action: 'retry_message', id, force: false, outcome: 'done' })]);
    // It is shown no more from now on.
    expect((await world.snapshot()).deadLetters?.items.map((letter) => letter.id)).not.toContain(id);
  });

  it('sends what may have been sent again only when it is forced', async () => {
    const id = await world.deadLetter('outcome_unknown', false);
    const refused = await world.act('/status/retry-message', { id, force: false });
    expect([refused.status, await refused.json()]).toMatchObject([409, { error: 'not_retryable' }]);
    expect((await world.act('/status/retry-message', { id, force: true })).status).toBe(200);
    await until('it is delivered', async () => (await world.delivering.calls.readMessage(id)).message.status === MessageStatus.DELIVERED);
  });

  it('says what keeps it from being done', async () => {
    const { id } = await world.delivering.calls.send();
    await until('it is delivered', async () => (await world.delivering.calls.readMessage(id)).message.status === MessageStatus.DELIVERED);
    const forbidden = await world.act('/status/retry-message', { id });
    expect([forbidden.status, await forbidden.json()]).toMatchObject([409, { error: 'status_forbids' }]);
    expect((await world.act('/status/retry-message', { id: randomUUID() })).status).toBe(404);
    expect((await world.act('/status/replay-webhook', { id: randomUUID() })).status).toBe(404);
  });

  it('replays a webhook request', async () => {
    const { id: messageId } = await world.delivering.calls.send();
    const id = await world.quarantined(messageId);
    const response = await world.act('/status/replay-webhook', { id });
    expect([response.status, await response.json()]).toEqual([200, { state: 'processed' }]);
  });
});

describe('a process with one role', () => {
  it.each(['server', 'worker'])('that is a %s shows what it has', async (PROCESS_ROLE) => {
    await using process = await world.delivering.startAnother({ PROCESS_ROLE, STATUS_TOKEN });
    const headers = { authorization: authorization() };
    const breaker = PROCESS_ROLE === 'worker' ? 'closed' : 'not used';
    // PostgreSQL may answer a new process too late for its first snapshot.
    await vi.waitFor(async () => {
      const snapshot = await (await fetch(`http://127.0.0.1:${process.httpPort}/status.json`, { headers })).json();
      expect(snapshot).toMatchObject({
        about: { role: PROCESS_ROLE },
        breakers: [{ name: 'redis' }, { name: 'twilio', state: breaker }, { name: 'sendgrid', state: breaker }],
        queue: [{ provider: 'twilio' }, { provider: 'sendgrid' }],
        deadLetters: { items: expect.any(Array) },
      });
    }, patiently);
  });
});
