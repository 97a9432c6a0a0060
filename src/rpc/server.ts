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
import type { DescMethod } from '@bufbuild/protobuf';
import { type ConnectRouter, createConnectRouter, createContextValues, type Interceptor } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { callKey, callOf } from './call.ts';
import { requestedTimeoutMs } from './deadline.ts';
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

function createHttp2Server({ tls, maxConcurrentStreams }: ServerOptions): Http2Server {
  const settings = { maxConcurrentStreams, maxHeaderListSize: MAX_HEADER_BYTES };
  const limits = { settings, maxHeaderListPairs: MAX_HEADER_PAIRS, unknownProtocolTimeout: 1_000 };
  if (tls === undefined) return createServer(limits);
  return createSecureServer({ ...limits, cert: readFileSync(tls.certFile), key: readFileSync(tls.keyFile), ALPNProtocols: ['h2'] });
}

/** Ends the call when its time is up, even if its body never arrives or its handler does not listen. */
function enforceDeadline(request: Http2ServerRequest, response: Http2ServerResponse, method: DescMethod, options: ServerOptions): void {
  const asked = requestedTimeoutMs(request.headers);
  const timeoutMs = asked ?? (method.methodKind === 'unary' ? options.defaultDeadlineMs : undefined);
  if (timeoutMs === undefined) return;
  const timer = setTimeout(
    () => endWithError(request, response, errorWith('deadline_exceeded', `no answer within ${Math.round(timeoutMs)} ms`)),
    Math.min(timeoutMs, options.maxDeadlineMs),
  );
  response.once('close', () => clearTimeout(timer));
}

function methodTable({ routes }: ServerParts): ReadonlyMap<string, DescMethod> {
  const router = createConnectRouter();
  for (const route of routes) route(router);
  return new Map(router.handlers.map(({ requestPath, method }) => [requestPath, method]));
}

/** Throws what listen() reports, e.g. EADDRINUSE. */
export async function startRpcServer(options: ServerOptions, parts: ServerParts): Promise<RpcServer> {
  const methods = methodTable(parts);
  let draining = false;
  const adapter = connectNodeAdapter({
    routes: (router) => {
      for (const route of parts.routes) route(router);
    },
    interceptors: [...parts.interceptors],
    readMaxBytes: options.maxRequestBytes,
    writeMaxBytes: options.maxResponseBytes,
    maxTimeoutMs: options.maxDeadlineMs,
    contextValues: (request) => createContextValues().set(callKey, callOf(request as Http2ServerRequest)),
  });

  const server = createHttp2Server(options);
  const sessions = new Set<ServerHttp2Session>();
  const calledSessions = new WeakSet<ServerHttp2Session>();
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    // A peer that breaks the protocol ends its own connection; without a listener it would end the process.
    session.on('error', (error) => parts.log.debug({ err: error }, 'connection failed'));
    session.setTimeout(SILENT_CONNECTION_TIMEOUT_MS, () => {
      if (!calledSessions.has(session)) session.close();
    });
  });
  server.on('request', (request, response) => {
    if (request.stream.session !== undefined) calledSessions.add(request.stream.session as ServerHttp2Session);
    const path = request.url.split('?', 1)[0] ?? '';
    const method = methods.get(path);
    observeCall(request, response, method, parts.metrics, () => {
      if (draining) return endWithError(request, response, errorWith('draining', 'this server is shutting down; call another one'));
      if (method === undefined) return endWithError(request, response, errorWith('method_unimplemented', `there is no method ${path}`));
      enforceDeadline(request, response, method, options);
      adapter(request, response);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, () => {
      server.off('error', reject);
      resolve();
    });
  });

  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  return {
    port: address.port,
    async close(timeoutMs) {
      draining = true;
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const session of sessions) session.close();
      const timer = setTimeout(() => {
        for (const session of sessions) session.destroy();
      }, timeoutMs);
      await closed;
      clearTimeout(timer);
    },
  };
}
