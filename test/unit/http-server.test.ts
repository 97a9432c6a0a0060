import { connect } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Dependency, type HttpServerOptions, startHttpServer } from '../../src/http/http-server.ts';

const POSTGRES: Dependency = { name: 'postgresql', ok: true, detail: 'answers', required: true };
const REDIS: Dependency = { name: 'redis', ok: true, detail: 'answers', required: false };

async function start(options: Partial<HttpServerOptions> = {}) {
  const server = await startHttpServer({
    host: '127.0.0.1',
    port: 0,
    ready: async () => [POSTGRES, REDIS],
    metrics: async () => ({ contentType: 'text/plain; version=0.0.4', text: 'up 1\n' }),
    isDraining: () => false,
    ...options,
  });
  onTestFinished(async () => await server[Symbol.asyncDispose]());
  return { server, get: (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${server.port}${path}`, init) };
}

describe('the HTTP server', () => {
  test('is alive even when nothing it depends on is', async () => {
    const { get } = await start({ ready: () => Promise.reject(new Error('down')) });
    const response = await get('/healthz');
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ status: 'alive' });
  });

  test('is ready when every required dependency is, and shows each', async () => {
    const { get } = await start({ ready: async () => [POSTGRES, { ...REDIS, ok: false, detail: 'does not answer' }] });
    const response = await get('/readyz?verbose');
    expect(response.status).toBe(200);
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(await response.json()).toEqual({
      status: 'ready',
      dependencies: [POSTGRES, { ...REDIS, ok: false, detail: 'does not answer' }],
    });
  });

  test('is not ready when a required dependency is down', async () => {
    const { get } = await start({ ready: async () => [{ ...POSTGRES, ok: false }] });
    const response = await get('/readyz');
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ status: 'not ready', dependencies: [{ name: 'postgresql', ok: false }] });
  });

  test.for([
    ['rejects', () => Promise.reject(new Error('password hunter2'))],
    [
      'throws',
      () => {
        throw new Error('password hunter2');
      },
    ],
    ['never answers', () => new Promise<never>(() => {})],
  ] as const)('is not ready when the check %s, says nothing of why, and recovers', async ([, broken]) => {
    let ready: HttpServerOptions['ready'] = broken;
    const { get } = await start({ ready: () => ready(), answerTimeoutMs: 20 });
    const response = await get('/readyz');
    expect(response.status).toBe(503);
    expect(await response.text()).not.toContain('hunter2');
    ready = async () => [POSTGRES];
    expect((await get('/readyz')).status).toBe(200);
  });

  test('asks its dependencies once however many probes come at a time', async () => {
    let asked = 0;
    const ready = async () => {
      asked += 1;
      return [POSTGRES];
    };
    const probe = 'GET /readyz HTTP/1.1\r\nHost: x\r\n';
    const answers = await raw(`${probe}\r\n${probe}\r\n${probe}Connection: close\r\n\r\n`, { ready });
    expect(answers.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(3);
    expect(asked).toBe(1);
  });

  test('while draining is not ready, without asking anyone, and still alive', async () => {
    const { get } = await start({ isDraining: () => true, ready: () => Promise.reject(new Error('asked')) });
    const response = await get('/readyz');
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({ status: 'draining' });
    expect((await get('/healthz')).status).toBe(200);
  });

  test('serves metrics in the format they come in', async () => {
    const { get } = await start();
    const response = await get('/metrics');
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4');
    expect(await response.text()).toBe('up 1\n');
  });

  test('answers metrics that fail with 500 and nothing of the inside', async () => {
    const { get } = await start({ metrics: () => Promise.reject(new Error('hunter2')) });
    const response = await get('/metrics');
    expect(response.status).toBe(500);
    expect(await response.json()).toEqual({ error: 'internal error' });
  });

  test('answers HEAD like GET without the body', async () => {
    const { get } = await start();
    const response = await get('/healthz', { method: 'HEAD' });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-length')).toBe(String('{"status":"alive"}\n'.length));
    expect(await response.text()).toBe('');
  });

  test('refuses other paths, other methods and bodies as JSON', async () => {
    const { get } = await start();
    const unknown = await get('/secret');
    expect([unknown.status, await unknown.json()]).toEqual([404, { error: 'not found', paths: ['/healthz', '/readyz', '/metrics'] }]);
    const posted = await get('/metrics', { method: 'POST', body: 'x' });
    expect([posted.status, posted.headers.get('allow'), await posted.json()]).toEqual([405, 'GET, HEAD', { error: 'method not allowed' }]);
    expect(await raw('GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx')).toMatch(/^HTTP\/1\.1 413 /);
    expect(await raw(`GET /healthz HTTP/1.1\r\nHost: x\r\nPadding: ${'x'.repeat(9_000)}\r\n\r\n`)).toMatch(/^HTTP\/1\.1 431 /);
  });

  test('fails to start on a taken port', async () => {
    const { server } = await start();
    await expect(start({ port: server.port })).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });

  test('when disposed lets the running request end, accepts no other and can be disposed again', async () => {
    const gate = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const { server, get } = await start({
      metrics: async () => {
        asked.resolve();
        await gate.promise;
        return { contentType: 'text/plain', text: 'late' };
      },
    });
    const running = get('/metrics');
    await asked.promise;
    const disposed = server[Symbol.asyncDispose]();
    await expect(get('/healthz')).rejects.toThrow();
    gate.resolve();
    expect(await (await running).text()).toBe('late');
    await disposed;
    await server[Symbol.asyncDispose]();
  });

  test('answers a probe while more connections than it has places for ask nothing', async () => {
    const { server, get } = await start();
    await openSilent(server.port);
    expect((await get('/healthz')).status).toBe(200);
  });

  test('ends a connection that asks many things without waiting for answers', async () => {
    const answers = await raw('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(100));
    expect(answers.split('alive').length).toBeLessThan(10);
  });

  test('closes no connection whose request it has not answered yet', async () => {
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<readonly Dependency[]>();
    const ready = () => {
      asked.resolve();
      return answer.promise;
    };
    const { server, get } = await start({ ready, answerTimeoutMs: 60_000 });
    const waiting = get('/readyz');
    await asked.promise;
    await openSilent(server.port);
    answer.resolve([POSTGRES]);
    expect((await waiting).status).toBe(200);
  });
});

/** More connections than the server has places for. */
async function openSilent(port: number): Promise<void> {
  const sockets = Array.from({ length: 300 }, () => connect(port, '127.0.0.1').on('error', () => undefined));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
  });
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
}

/** What the server sends back for these bytes until it closes the connection. */
async function raw(bytes: string, options: Partial<HttpServerOptions> = {}): Promise<string> {
  const { server } = await start(options);
  const socket = connect(server.port, '127.0.0.1');
  socket.end(bytes);
  let answer = '';
  for await (const chunk of socket) answer += String(chunk);
  return answer;
}
