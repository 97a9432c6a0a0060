/** Every way in which a request can end, over real sockets, for both SDKs. */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { describe, expect, it, vi } from 'vitest';
import type { Provider } from '../../src/domain/message.ts';
import type { SubmissionOutcome } from '../../src/domain/provider-client.ts';
import { answerJson, closedPort, makeCertificate, startDeaf, startHttp, startTcp } from '../support/provider-servers.ts';
import { deliver, email, type ProviderWorld, providerWorld, sms, type WorldOptions } from '../support/provider-world.ts';

const certificate = makeCertificate();

const requestOf = (provider: Provider) => (provider === 'twilio' ? sms() : email());

async function outcomeAt(provider: Provider, url: string, options: WorldOptions = {}): Promise<SubmissionOutcome> {
  using world = await providerWorld(provider, url, options);
  return await deliver(world, requestOf(provider));
}

/** One failure opens the breaker when it counts. */
const opensAfterOne = { breaker: { failuresToOpen: 1 } };

async function stateAfter(world: ProviderWorld, provider: Provider) {
  const { kind } = await deliver(world, requestOf(provider));
  return [kind, world.client.health().breaker];
}

const SAFE = { kind: 'transient', retryAfterMs: undefined, failure: { reason: 'attempts_exhausted', retryable: true } };
const AMBIGUOUS = { kind: 'unknown', failure: { reason: 'outcome_unknown', retryable: false } };

describe.each(['twilio', 'sendgrid'] as const)('%s', (provider) => {
  describe('is safe to ask again when', () => {
    it('nobody listens', async () => {
      expect(await outcomeAt(provider, `http://127.0.0.1:${await closedPort()}`)).toMatchObject({
        ...SAFE,
        failure: { providerCode: 'ECONNREFUSED' },
      });
    });

    it('its name cannot be resolved', async () => {
      const outcome = await outcomeAt(provider, 'http://provider.invalid');
      expect(outcome).toMatchObject(SAFE);
      expect(['ENOTFOUND', 'EAI_AGAIN']).toContain(outcome.kind === 'transient' && outcome.failure.providerCode);
    });

    it('no connection is accepted in half of the time', async () => {
      await using server = await startDeaf();
      expect(await outcomeAt(provider, server.url, { timeoutMs: 300 })).toMatchObject({
        ...SAFE,
        failure: { providerCode: 'CONNECT_TIMEOUT' },
      });
    });

    it('TLS is not answered in half of the time', async () => {
      await using server = await startTcp(() => undefined, 'https');
      expect(await outcomeAt(provider, server.url, { timeoutMs: 300 })).toMatchObject({
        ...SAFE,
        failure: { providerCode: 'CONNECT_TIMEOUT' },
      });
    });

    it('the connection is reset in the middle of the TLS handshake', async () => {
      await using server = await startTcp((socket) => socket.once('data', () => socket.resetAndDestroy()), 'https');
      expect(await outcomeAt(provider, server.url)).toMatchObject(SAFE);
    });

    it('it answers TLS with something else', async () => {
      await using server = await startTcp((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'), 'https');
      expect(await outcomeAt(provider, server.url)).toMatchObject(SAFE);
    });

    it.skipIf(certificate === undefined)('its certificate is not trusted, and it sees nothing of the message', async () => {
      await using server = await startHttp((_seen, response) => answerJson(response, 201, { sid: 'SM1' }), certificate);
      expect(await outcomeAt(provider, server.url)).toMatchObject({
        ...SAFE,
        failure: { providerCode: 'DEPTH_ZERO_SELF_SIGNED_CERT' },
      });
      expect(server.seen).toEqual([]);
    });

    it.each([
      [429, 'seconds', '7', 7_000],
      [429, 'nothing', undefined, undefined],
      [503, 'seconds', '120', 120_000],
      [503, 'nothing', undefined, undefined],
      [408, 'nothing', undefined, undefined],
    ])('the answer is %d and Retry-After has %s', async (status, _what, retryAfter, retryAfterMs) => {
      const headers = retryAfter === undefined ? {} : { 'Retry-After': retryAfter };
      await using server = await startHttp((_seen, response) => answerJson(response, status, {}, headers));
      expect(await outcomeAt(provider, server.url)).toMatchObject({ ...SAFE, retryAfterMs, failure: { providerCode: `HTTP_${status}` } });
    });

    it('Retry-After has a date', async () => {
      const inAMinute = new Date(Date.now() + 60_000).toUTCString();
      await using server = await startHttp((_seen, response) => answerJson(response, 503, {}, { 'Retry-After': inAMinute }));
      const outcome = await outcomeAt(provider, server.url);
      expect(outcome.kind === 'transient' && outcome.retryAfterMs).toBeGreaterThan(50_000);
      expect(outcome.kind === 'transient' && outcome.retryAfterMs).toBeLessThanOrEqual(60_000);
    });

    it.each([429, 503])('the answer is %d and breaks off behind its headers', async (status) => {
      const start = `HTTP/1.1 ${status} No\r\nContent-Length: 100\r\n\r\n{"`;
      await using server = await startTcp((socket) => socket.once('data', () => socket.write(start, () => socket.destroy())));
      expect(await outcomeAt(provider, server.url)).toMatchObject(SAFE);
    });
  });

  describe('may have taken the message when', () => {
    it('it does not answer in time', async () => {
      await using server = await startHttp(() => undefined);
      expect(await outcomeAt(provider, server.url, { timeoutMs: 1_000 })).toMatchObject({
        ...AMBIGUOUS,
        failure: { providerCode: 'TIMEOUT' },
      });
      expect(server.seen).toHaveLength(1);
    });

    it.each([
      ['resets the connection when it has read', (socket: Socket) => void socket.once('data', () => socket.resetAndDestroy())],
      ['hangs up when it has read', (socket: Socket) => void socket.once('data', () => socket.end())],
      ['answers something else than HTTP', (socket: Socket) => void socket.once('data', () => socket.end('220 smtp ready\r\n'))],
    ])('it %s', async (_what, onConnection) => {
      await using server = await startTcp(onConnection);
      expect(await outcomeAt(provider, server.url)).toMatchObject(AMBIGUOUS);
    });

    it('it resets a connection that has been used before', async () => {
      let requests = 0;
      await using server = await startHttp((_seen, response) => {
        requests += 1;
        if (requests > 1) response.socket?.resetAndDestroy();
        else answerJson(response, 201, { sid: 'SM1' }, { 'X-Message-Id': '1' });
      });
      using world = await providerWorld(provider, server.url);
      expect(await deliver(world, requestOf(provider))).toMatchObject({ kind: 'accepted' });
      expect(await deliver(world, requestOf(provider))).toMatchObject(AMBIGUOUS);
      expect([server.connections.length, server.seen.length]).toEqual([1, 2]);
    });

    it.each(['201 Created', '202 Accepted'])('it answers %s and breaks off', async (line) => {
      const start = `HTTP/1.1 ${line}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"sid": "SM`;
      await using server = await startTcp((socket) => socket.once('data', () => socket.write(start, () => socket.destroy())));
      expect(await outcomeAt(provider, server.url)).toMatchObject(AMBIGUOUS);
    });

    it('it begins an answer that does not end in time', async () => {
      await using server = await startHttp((_seen, response) => response.writeHead(202, { 'Content-Length': '100' }).write('{'));
      expect(await outcomeAt(provider, server.url, { timeoutMs: 1_000 })).toMatchObject(AMBIGUOUS);
    });

    it('it answers without an end', async () => {
      await using server = await startHttp((_seen, response) => {
        const more = (): void => void (response.destroyed || response.write('x'.repeat(1_048_576), more));
        response.writeHead(202);
        more();
      });
      expect(await outcomeAt(provider, server.url)).toMatchObject(AMBIGUOUS);
    });

    it.each(['<html>', '', '{}', 'null'])('it answers 202 with %j and no id', async (body) => {
      await using server = await startHttp((_seen, response) => void response.writeHead(202).end(body));
      expect(await outcomeAt(provider, server.url)).toMatchObject(AMBIGUOUS);
    });

    it.each([500, 501, 502, 504, 520])('it answers %d', async (status) => {
      await using server = await startHttp((_seen, response) => answerJson(response, status, {}, { 'Retry-After': '1' }));
      expect(await outcomeAt(provider, server.url)).toMatchObject({ ...AMBIGUOUS, failure: { providerCode: `HTTP_${status}` } });
    });

    it('it redirects, which is not followed', async () => {
      await using other = await startHttp((_seen, response) => answerJson(response, 201, { sid: 'SM1' }, { 'X-Message-Id': '1' }));
      await using server = await startHttp((_seen, response) => void response.writeHead(307, { Location: other.url }).end());
      expect(await outcomeAt(provider, server.url)).toMatchObject(AMBIGUOUS);
      expect(other.seen).toEqual([]);
    });
  });

  it.each([
    ['a refused connection', 'transient', 'open', undefined],
    ['500', 'unknown', 'open', 500],
    ['503', 'transient', 'open', 503],
    ['401', 'credentials', 'open', 401],
    ['403', 'credentials', 'open', 403],
    ['429', 'transient', 'closed', 429],
    ['400', 'rejected', 'closed', 400],
    ['404', 'rejected', 'closed', 404],
    ['413', 'rejected', 'closed', 413],
  ])('%s is %s and leaves the breaker %s', async (_what, kind, breaker, status) => {
    await using server = await startHttp((_seen, response) => answerJson(response, status ?? 200, {}));
    const url = status === undefined ? `http://127.0.0.1:${await closedPort()}` : server.url;
    using world = await providerWorld(provider, url, opensAfterOne);
    expect(await stateAfter(world, provider)).toEqual([kind, breaker]);
  });

  it('uses a connection again, but not one that its server may be about to close', async () => {
    await using server = await startHttp((_seen, response) => answerJson(response, 201, { sid: 'SM1' }, { 'X-Message-Id': '1' }));
    using world = await providerWorld(provider, server.url);
    for (let count = 0; count < 3; count += 1) expect(await deliver(world, requestOf(provider))).toMatchObject({ kind: 'accepted' });
    expect(server.connections).toHaveLength(1);
    const [connection] = server.connections;
    if (connection !== undefined) await once(connection, 'close');
  }, 20_000);

  it('is asked directly, whatever proxies the environment has', async () => {
    await using server = await startHttp((_seen, response) => answerJson(response, 201, { sid: 'SM1' }, { 'X-Message-Id': '1' }));
    for (const name of ['HTTP_PROXY', 'http_proxy']) vi.stubEnv(name, `http://127.0.0.1:${await closedPort()}`);
    try {
      expect(await outcomeAt(provider, server.url)).toMatchObject({ kind: 'accepted' });
    } finally {
      vi.unstubAllEnvs();
    }
  });

  it('has its SDK write nothing to the console, whatever the environment says', async () => {
    await using server = await startHttp((_seen, response) => answerJson(response, 400, {}));
    const written = (['log', 'info', 'warn', 'error', 'debug'] as const).map((name) => vi.spyOn(console, name));
    vi.stubEnv('TWILIO_LOG_LEVEL', 'debug');
    try {
      expect(await outcomeAt(provider, server.url)).toMatchObject({ kind: 'rejected' });
      for (const spy of written) expect(spy).not.toHaveBeenCalled();
    } finally {
      vi.unstubAllEnvs();
      vi.restoreAllMocks();
    }
  });

  it('puts neither the message, nor addresses, nor credentials into the log', async () => {
    using world = await providerWorld(provider, `http://127.0.0.1:${await closedPort()}`, opensAfterOne);
    await deliver(world, requestOf(provider));
    await using server = await startHttp((_seen, response) => answerJson(response, 401, { message: 'canary-answer' }));
    using refused = await providerWorld(provider, server.url);
    await deliver(refused, requestOf(provider));
    for (const { logText } of [world, refused]) {
      expect(logText()).not.toBe('');
      expect(logText()).not.toMatch(/canary|1415555267|example\.(com|org)/);
    }
  });
});
