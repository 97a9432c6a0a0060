/** How webhooks are taken off the wire: limits, and the answer to each outcome. */
import { connect, type Socket } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { WebhookContent } from '../../src/domain/webhook-ports.ts';
import { WEBHOOK_PATHS, type WebhookState, webhookEndpoints } from '../../src/domain/webhook-request.ts';
import { startHttpServer } from '../../src/http/http-server.ts';
import { type WebhookRoutesOptions, webhookRoutes } from '../../src/http/webhooks.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { scrape } from '../support/scrape.ts';

const maxBytes = 1_000;
const path = WEBHOOK_PATHS.twilio_status;

async function start(options: Partial<WebhookRoutesOptions> = {}) {
  const lines: string[] = [];
  const log = createLog({ level: 'debug', destination: { write: (line: string) => lines.push(line) } });
  const metrics = createMetrics();
  const ingested: WebhookContent[] = [];
  const posts = webhookRoutes({
    maxBytes,
    verify: async () => 'authentic',
    ingest: async (content) => {
      ingested.push(content);
      return { id: 'id', state: 'processed' };
    },
    log,
    metrics,
    ...options,
  });
  const server = await startHttpServer({
    host: '127.0.0.1',
    port: 0,
    ready: async () => [],
    metrics: metrics.exposition,
    isDraining: () => false,
    posts,
  });
  onTestFinished(async () => await server[Symbol.asyncDispose]());
  const post = (body: string, init: RequestInit = {}, to = path) =>
    fetch(`http://127.0.0.1:${server.port}${to}`, { method: 'POST', body, ...init });
  const counted = async (result: string) => (await scrape({ httpPort: server.port })).sum('webhook_requests_total', { result });
  return { server, ingested, post, counted, log: () => lines.join('') };
}

function open(port: number): Socket {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  onTestFinished(() => void socket.destroy());
  return socket;
}

/** All that comes until the other side closes. */
async function answerOn(socket: Socket): Promise<string> {
  let answer = '';
  for await (const chunk of socket) answer += String(chunk);
  return answer;
}

const headOf = (to: string, ...lines: readonly string[]): string => [`POST ${to} HTTP/1.1`, 'Host: x', ...lines, '', ''].join('\r\n');
const head = (...lines: readonly string[]): string => headOf(path, ...lines);

describe('an authentic webhook', () => {
  test('is handed on as it came, and acknowledged as its provider expects', async () => {
    const { ingested, post, counted } = await start();
    const answers = [];
    for (const endpoint of webhookEndpoints) {
      const response = await post('a=ü', { headers: { 'content-type': 'x/y' } }, `${WEBHOOK_PATHS[endpoint]}?message=%31&x=a+b`);
      answers.push([response.status, response.headers.get('content-type'), await response.text()]);
    }
    expect(answers).toEqual([
      [204, null, ''],
      [200, 'text/xml; charset=utf-8', '<Response/>'],
      [200, 'text/plain; charset=utf-8', ''],
      [200, 'text/plain; charset=utf-8', ''],
    ]);
    expect(ingested).toEqual(
      webhookEndpoints.map((endpoint) => ({
        endpoint,
        path: `${WEBHOOK_PATHS[endpoint]}?message=%31&x=a+b`,
        contentType: 'x/y',
        body: Buffer.from('a=ü'),
      })),
    );
    expect(await counted('applied')).toBe(4);
  });

  test.each<WebhookState>(['unmatched', 'quarantined'])('that is %s is acknowledged and counted', async (state) => {
    const { post, counted } = await start({ ingest: async () => ({ id: 'id', state }) });
    expect((await post('x')).status).toBe(204);
    expect(await counted(state)).toBe(1);
  });

  test('that cannot be stored shall come again; the log says why, the answer does not', async () => {
    const { post, counted, log } = await start({ ingest: () => Promise.reject(new TypeError('hunter2')) });
    const response = await post('x');
    expect([response.status, response.headers.get('retry-after'), await response.json()]).toEqual([503, '5', { error: 'unavailable' }]);
    expect(log()).toContain('TypeError');
    expect(log()).not.toContain('hunter2');
    expect(await counted('failed')).toBe(1);
  });
});

test('a webhook that is not authentic is refused and goes no further', async () => {
  const { ingested, post, counted } = await start({ verify: async () => 'forged' });
  const response = await post('x');
  expect([response.status, await response.json()]).toEqual([403, { error: 'forbidden' }]);
  expect(ingested).toEqual([]);
  expect(await counted('forbidden')).toBe(1);
});

test.each(webhookEndpoints)('a webhook at %s that cannot be checked goes no further, and shall come again', async (endpoint) => {
  const { ingested, post, counted } = await start({ verify: async () => 'unverifiable' });
  const response = await post('x', {}, WEBHOOK_PATHS[endpoint]);
  expect([response.status, response.headers.get('retry-after'), await response.json()]).toEqual([503, '5', { error: 'unavailable' }]);
  expect(ingested).toEqual([]);
  expect([await counted('failed'), await counted('forbidden')]).toEqual([1, 0]);
});

describe('before anything is trusted', () => {
  test('other methods, compressed bodies and other paths are refused', async () => {
    const { ingested, post, server } = await start();
    const got = await fetch(`http://127.0.0.1:${server.port}${path}`);
    expect([got.status, got.headers.get('allow')]).toEqual([405, 'POST']);
    for (const encoding of ['gzip', 'br', 'identity, gzip', 'x']) {
      expect((await post('x', { headers: { 'content-encoding': encoding } })).status).toBe(415);
    }
    expect((await post('x', { headers: { 'content-encoding': 'Identity' } })).status).toBe(204);
    expect((await post('x', {}, `${path}/`)).status).toBe(404);
    expect(ingested).toHaveLength(1);
  });

  test('a body of the largest size is taken, and a larger one not, said before or not', async () => {
    const { ingested, post, server, counted } = await start();
    expect((await post('x'.repeat(maxBytes))).status).toBe(204);
    expect((await post('x'.repeat(maxBytes + 1))).status).toBe(413);
    const announced = open(server.port);
    announced.write(head(`Content-Length: ${maxBytes + 1}`));
    expect(await answerOn(announced)).toMatch(/^HTTP\/1\.1 413 [\s\S]*\r\nconnection: close\r\n/i);
    const chunked = open(server.port);
    chunked.write(`${head('Transfer-Encoding: chunked')}${(maxBytes + 1).toString(16)}\r\n${'x'.repeat(maxBytes + 1)}`);
    expect(await answerOn(chunked)).toMatch(/^HTTP\/1\.1 413 /);
    expect(await counted('too_large')).toBe(3);
    expect(ingested).toHaveLength(1);
  });

  test('only mail may be as large as the largest body', async () => {
    const { ingested, post } = await start({ maxBytes: 8 * 1_048_576 });
    for (const [endpoint, limit] of [
      ['twilio_status', 1_048_576],
      ['twilio_inbound', 1_048_576],
      ['sendgrid_events', 4 * 1_048_576],
      ['sendgrid_inbound', 8 * 1_048_576],
    ] as const) {
      const answers = [
        await post('x'.repeat(limit), {}, WEBHOOK_PATHS[endpoint]),
        await post('x'.repeat(limit + 1), {}, WEBHOOK_PATHS[endpoint]),
      ];
      expect(answers.map(({ status }) => status)).toEqual([endpoint === 'twilio_status' ? 204 : 200, 413]);
    }
    expect(ingested).toHaveLength(4);
  });

  test('a body that never ends is given up, and shall come again', async () => {
    const { ingested, server, counted } = await start({ bodyTimeoutMs: 30 });
    const socket = open(server.port);
    socket.write(`${head('Content-Length: 10')}x`);
    expect(await answerOn(socket)).toMatch(/^HTTP\/1\.1 503 [\s\S]*\r\nretry-after: 5\r\nconnection: close\r\n/i);
    expect(ingested).toEqual([]);
    expect(await counted('failed')).toBe(1);
  });

  test('a caller who leaves in the middle leaves nothing behind', async () => {
    const { ingested, server, post } = await start();
    for (let times = 0; times < 200; times += 1) {
      const socket = open(server.port);
      socket.write(`${head(`Content-Length: ${maxBytes}`)}${'x'.repeat(maxBytes - 1)}`, () => socket.destroy());
      await new Promise((closed) => socket.once('close', closed));
    }
    // Were their bodies, or their places, still taken, there would be no room for this one.
    await expect.poll(async () => (await post('x'.repeat(maxBytes))).status).toBe(204);
    expect(ingested).toHaveLength(1);
  });

  test('bodies beyond the memory that is set aside for them are put off', async () => {
    const { server, post, counted } = await start();
    const held = Array.from({ length: 4 }, () => open(server.port));
    for (const socket of held) socket.write(`${head(`Content-Length: ${maxBytes}`)}${'x'.repeat(maxBytes - 1)}`);
    await expect.poll(async () => (await post('x'.repeat(100))).status).toBe(503);
    expect(await counted('failed')).toBeGreaterThan(0);
    for (const socket of held) socket.destroy();
    await expect.poll(async () => (await post('x'.repeat(100))).status).toBe(204);
  });

  test.each([
    ['that are half there', 4, maxBytes],
    ['that have hardly begun', 64, 2],
  ])('mails %s leave room for the other endpoints', async (_what, count, bytes) => {
    const { server, post } = await start();
    const begun = `${headOf(WEBHOOK_PATHS.sendgrid_inbound, `Content-Length: ${bytes}`)}${'x'.repeat(bytes - 1)}`;
    for (let held = 0; held < count; held += 1) open(server.port).write(begun);
    await expect.poll(async () => (await post('x'.repeat(100), {}, WEBHOOK_PATHS.sendgrid_inbound)).status).toBe(503);
    for (const endpoint of webhookEndpoints.filter((each) => each !== 'sendgrid_inbound')) {
      expect((await post('x'.repeat(maxBytes), {}, WEBHOOK_PATHS[endpoint])).ok).toBe(true);
    }
  });

  test('so are more at once than the server has room for, and probes still find a place', async () => {
    const gate = Promise.withResolvers<void>();
    const { server, post } = await start({
      ingest: async () => {
        await gate.promise;
        return { id: 'id', state: 'processed' };
      },
    });
    const waiting = Array.from({ length: 128 }, () => open(server.port));
    const answers = waiting.map(answerOn);
    for (const socket of waiting) socket.write(`${head('Content-Length: 1', 'Connection: close')}x`);
    await expect.poll(async () => (await post('x')).status).toBe(503);
    expect((await fetch(`http://127.0.0.1:${server.port}/healthz`)).status).toBe(200);
    gate.resolve();
    for (const answer of await Promise.all(answers)) expect(answer).toMatch(/^HTTP\/1\.1 204 /);
  });

  test('a pipelined request after a good one is answered too', async () => {
    const { server } = await start();
    const socket = open(server.port);
    socket.end(`${head('Content-Length: 1')}x${head('Content-Length: 1', 'Connection: close')}y`);
    expect((await answerOn(socket)).match(/HTTP\/1\.1 204 /g)).toHaveLength(2);
  });
});
