/** Plain HTTP for probes and metrics, /healthz, /readyz, /metrics, and for what else is shown and posted here. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { keepRoom } from './connection-room.ts';

/** One thing the service depends on, as /readyz shows it. */
export interface Dependency {
  readonly name: string;
  readonly ok: boolean;
  /** For people. Shown to whoever can reach the port: never a host, an address or a secret. */
  readonly detail: string;
  /** False: the service works without it, only slower. */
  readonly required: boolean;
}

export interface HttpServerOptions {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** Asked at most once at a time, however many probes come. */
  ready(): Promise<readonly Dependency[]>;
  metrics(): Promise<{ readonly contentType: string; readonly text: string }>;
  isDraining(): boolean;
  /** What else there is to see, by path. */
  readonly gets?: ReadonlyMap<string, GetRoute>;
  /** By path; undefined: nothing may be posted. */
  readonly posts?: ReadonlyMap<string, PostRoute>;
  /** Longest wait for ready() and metrics(); then the answer is 503 or 500. Default 2,000. */
  readonly answerTimeoutMs?: number;
}

export interface HttpServer extends AsyncDisposable {
  readonly port: number;
}

export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly text: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export type GetRoute = (request: IncomingMessage) => Promise<Answer>;

/** Reads the body itself, within limits of its own. undefined: whoever asked is gone. */
export type PostRoute = (request: IncomingMessage) => Promise<Answer | undefined>;

const LIMITS = {
  maxHeaderSize: 8 * 1_024,
  headersTimeout: 5_000,
  // For bodies; whoever reads one has a shorter limit.
  requestTimeout: 30_000,
  keepAliveTimeout: 10_000,
  connectionsCheckingInterval: 1_000,
};
const MAX_CONNECTIONS = 256;
const CLOSE_TIMEOUT_MS = 1_000;

export function json(status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): Answer {
  return { status, contentType: 'application/json; charset=utf-8', text: `${JSON.stringify(value)}\n`, headers };
}

function readiness(dependencies: readonly Dependency[]): Answer {
  const ready = dependencies.every(({ ok, required }) => ok || !required);
  return json(ready ? 200 : 503, {
    status: ready ? 'ready' : 'not ready',
    dependencies: dependencies.map(({ name, ok, required, detail }) => ({ name, ok, required, detail })),
  });
}

/** Rejects when `work` has not settled in time; `work` goes on. */
export async function within<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}

function routes(options: HttpServerOptions): ReadonlyMap<string, GetRoute> {
  const timeoutMs = options.answerTimeoutMs ?? 2_000;
  let asking: Promise<readonly Dependency[]> | undefined;
  const readyz = async (): Promise<Answer> => {
    if (options.isDraining()) return json(503, { status: 'draining' });
    try {
      asking ??= within(options.ready(), timeoutMs).finally(() => {
        asking = undefined;
      });
      return readiness(await asking);
    } catch {
      // Why stays inside: the text of an error may name hosts.
      return json(503, { status: 'not ready', dependencies: [] });
    }
  };
  let scraping: ReturnType<HttpServerOptions['metrics']> | undefined;
  const metrics = async (): Promise<Answer> => {
    scraping ??= within(options.metrics(), timeoutMs).finally(() => {
      scraping = undefined;
    });
    return { status: 200, ...(await scraping) };
  };
  return new Map<string, GetRoute>([
    ['/healthz', async () => json(200, { status: 'alive' })],
    ['/readyz', readyz],
    ['/metrics', metrics],
    ...(options.gets ?? []),
  ]);
}

function send(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  const body = Buffer.from(answer.text);
  response.writeHead(answer.status, {
    ...(answer.status === 204 ? {} : { 'content-type': answer.contentType, 'content-length': body.byteLength }),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...answer.headers,
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';

/** Throws when the port cannot be bound. Disposing stops accepting, lets running requests end for a second, then cuts them off. */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const paths = routes(options);
  const posts = options.posts ?? new Map<string, PostRoute>();
  const answerTo = async (request: IncomingMessage): Promise<Answer | undefined> => {
    const [path = ''] = (request.url ?? '').split('?', 1);
    const post = posts.get(path);
    if (post !== undefined) {
      if (request.method === 'POST') return await post(request);
      return json(405, { error: 'method not allowed' }, { allow: 'POST', connection: 'close' });
    }
    const route = paths.get(path);
    // Whatever is refused may have a body that nobody will read, so its connection ends with the answer.
    if (route === undefined) return json(404, { error: 'not found', paths: [...paths.keys(), ...posts.keys()] }, { connection: 'close' });
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return json(405, { error: 'method not allowed' }, { allow: 'GET, HEAD', connection: 'close' });
    }
    if (hasBody(request)) return json(413, { error: 'a body is not accepted' }, { connection: 'close' });
    return await route(request);
  };
  const server = createServer(LIMITS, (request, response) => {
    // What a connection sent behind the request that it was closed for.
    if (request.socket.destroyed) return;
    answerTo(request)
      .catch(() => json(500, { error: 'internal error' }))
      .then((answer) => {
        if (answer === undefined) return void response.destroy();
        if (!server.listening) response.setHeader('connection', 'close');
        send(request, response, answer);
      })
      .catch(() => response.destroy());
  });
  keepRoom(server, MAX_CONNECTIONS);
  server.listen(options.port, options.host);
  await once(server, 'listening');
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : options.port,
    async [Symbol.asyncDispose]() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      const timer = setTimeout(() => server.closeAllConnections(), CLOSE_TIMEOUT_MS);
      await closed;
      clearTimeout(timer);
    },
  };
}
