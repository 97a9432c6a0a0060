/** The port of gRPC, gRPC-Web and Connect: one HTTP/2 server, counted, traced and bounded at the stream. */
import { readFileSync } from 'node:fs';
import {
  createSecureServer,
  createServer,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from 'node:http2';
import type { Duplex } from 'node:stream';
import type { DescMethod } from '@bufbuild/protobuf';
import { type ConnectRouter, createConnectRouter, type Interceptor } from '@connectrpc/connect';
import type { UniversalHandler } from '@connectrpc/connect/protocol';
import { compressionBrotli, compressionGzip } from '@connectrpc/connect-node';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { answerCall } from './adapter.ts';
import { enforceDeadline } from './deadline.ts';
import { errorWith } from './errors.ts';
import { observeCall } from './observe-call.ts';
import { endWithError } from './response.ts';

export interface ServerOptions {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** undefined: cleartext HTTP/2. */
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
  readonly maxRequestBytes: number;
  readonly maxResponseBytes: number;
  /** For unary calls that bring no deadline. */
  readonly defaultDeadlineMs: number;
  readonly maxDeadlineMs: number;
  readonly maxConcurrentStreams: number;
}

export interface ServerParts {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly interceptors: readonly Interceptor[];
  readonly routes: readonly ((router: ConnectRouter) => void)[];
}

export interface RpcServer {
  readonly port: number;
  /** Refuses new calls, lets running ones finish, and cuts them off after `timeoutMs`. */
  close(timeoutMs: number): Promise<void>;
}

const MAX_HEADER_BYTES = 16_384;
const MAX_HEADER_PAIRS = 100;
/** A connection that never sends a request is closed after this. */
const SILENT_CONNECTION_TIMEOUT_MS = 30_000;
const DRAINING = 'this server is shutting down; call another one';
const TLS_HANDSHAKE_TIMEOUT_MS = 5_000;
/** For peers to learn that the server closes, before their connections are cut. */
const LAST_WORDS_MS = 200;

function createHttp2Server({ tls, maxConcurrentStreams }: ServerOptions): Http2Server {
  const settings = { maxConcurrentStreams, maxHeaderListSize: MAX_HEADER_BYTES };
  const limits = { settings, maxHeaderListPairs: MAX_HEADER_PAIRS, unknownProtocolTimeout: 1_000 };
  if (tls === undefined) return createServer(limits);
  const secure = { cert: readFileSync(tls.certFile), key: readFileSync(tls.keyFile), handshakeTimeout: TLS_HANDSHAKE_TIMEOUT_MS };
  return createSecureServer({ ...limits, ...secure, ALPNProtocols: ['h2'] });
}

/** JSON that names what this server does not know is refused, as protobuf's JSON mapping asks: a misspelt field must not be ignored. */
const JSON_OPTIONS = { ignoreUnknownFields: false, textDecoder: new TextDecoder('utf-8', { fatal: true }) };

function handlerTable({ routes, interceptors }: ServerParts, options: ServerOptions): ReadonlyMap<string, UniversalHandler> {
  const router = createConnectRouter({
    interceptors: [...interceptors],
    readMaxBytes: options.maxRequestBytes,
    writeMaxBytes: options.maxResponseBytes,
    acceptCompression: [compressionGzip, compressionBrotli],
    jsonOptions: JSON_OPTIONS,
  });
  for (const route of routes) route(router);
  return new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
}

interface RunningCall {
  readonly request: Http2ServerRequest;
  readonly response: Http2ServerResponse;
  readonly method: DescMethod | undefined;
}

/** Throws what listen() reports, e.g. EADDRINUSE. */
async function listen(server: Http2Server, { host, port }: ServerOptions): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  return address.port;
}

/** Throws what listen() reports, e.g. EADDRINUSE. */
export async function startRpcServer(options: ServerOptions, parts: ServerParts): Promise<RpcServer> {
  const { log, metrics } = parts;
  const handlers = handlerTable(parts, options);
  const server = createHttp2Server(options);
  const sockets = new Set<Duplex>();
  const sessions = new Set<ServerHttp2Session>();
  const calledSessions = new WeakSet<ServerHttp2Session>();
  const running = new Set<RunningCall>();
  let draining = false;
  /** Without calls, what is left are peers that do not shake hands, or do not hang up. */
  const dropIdle = (): void => {
    if (running.size === 0) for (const socket of sockets) socket.destroy();
  };

  server.on('connection', (socket: Duplex) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    // A peer that breaks the protocol ends its own connection; without a listener it would end the process.
    session.on('error', (error) => log.debug({ err: error }, 'connection failed'));
    session.setTimeout(SILENT_CONNECTION_TIMEOUT_MS, () => {
      // close() would wait for a peer that does not even hang up.
      if (!calledSessions.has(session)) session.destroy();
    });
  });
  server.on('request', (request, response) => {
    if (request.stream.session !== undefined) calledSessions.add(request.stream.session as ServerHttp2Session);
    const path = request.url.split('?', 1)[0] ?? '';
    const handler = handlers.get(path);
    const run: RunningCall = { request, response, method: handler?.method };
    running.add(run);
    response.once('close', () => {
      running.delete(run);
      if (draining) setTimeout(dropIdle, LAST_WORDS_MS).unref();
    });
    observeCall(request, response, run.method, metrics, (call) => {
      if (draining) return endWithError(request, response, errorWith('draining', DRAINING));
      if (handler === undefined) return endWithError(request, response, errorWith('method_unimplemented', `there is no method ${path}`));
      if (enforceDeadline(request, response, handler.method, options)) void answerCall(handler, request, response, call, log);
    });
  });
  const port = await listen(server, options);

  const cutOff = (isOver: (run: RunningCall) => boolean): void => {
    const error = errorWith('draining', DRAINING);
    for (const run of [...running]) if (isOver(run)) endWithError(run.request, run.response, error);
  };
  return {
    port,
    async close(timeoutMs) {
      draining = true;
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      // Its caller may keep such a stream open for ever.
      cutOff(({ method }) => method?.methodKind === 'bidi_streaming');
      for (const session of sessions) session.close();
      const timers = [
        setTimeout(dropIdle, LAST_WORDS_MS),
        setTimeout(cutOff, timeoutMs, () => true),
        setTimeout(() => {
          for (const session of sessions) session.destroy();
          for (const socket of sockets) socket.destroy();
        }, timeoutMs + LAST_WORDS_MS),
      ];
      await closed;
      for (const timer of timers) clearTimeout(timer);
    },
  };
}
