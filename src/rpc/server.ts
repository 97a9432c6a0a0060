/** The port of gRPC, gRPC-Web and Connect: one HTTP/2 server, counted, traced and bounded at the stream. */
import { readFileSync } from 'node:fs';
import { createSecureServer, createServer, type Http2Server, type Http2Session, type ServerHttp2Session } from 'node:http2';
import type { Duplex } from 'node:stream';
import type { DescMethod } from '@bufbuild/protobuf';
import { type ConnectError, type ConnectRouter, createConnectRouter } from '@connectrpc/connect';
import type { UniversalHandler } from '@connectrpc/connect/protocol';
import { compressionBrotli, compressionGzip } from '@connectrpc/connect-node';
import type { Log } from '../telemetry/log.ts';
import type { Metrics, RpcCounts } from '../telemetry/metrics.ts';
import { type Call, fullName, openCall } from './call.ts';
import { answerByConnect } from './connect-lane.ts';
import { enforceDeadline } from './deadline.ts';
import { errorWith } from './errors.ts';
import { interceptorsOf } from './interceptors.ts';
import { createLeanLane, isLean, type LeanMethod, leanMethods } from './lean-lane.ts';
import { reportEnd } from './observe-call.ts';
import { endWithError } from './response.ts';
import { type CallSteps, createSteps } from './steps.ts';

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
  /** Off: Connect answers every call. The answers are the same. */
  readonly leanLane: boolean;
}

export interface ServerParts {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly routes: readonly ((router: ConnectRouter) => void)[];
}

export interface RpcServer {
  readonly port: number;
  /** Refuses new calls, lets running ones finish, and cuts them off after `timeoutMs`. */
  close(timeoutMs: number): Promise<void>;
}

const ACCEPT_COMPRESSION = [compressionGzip, compressionBrotli] as const;
const COMPRESS_MIN_BYTES = 1_024;
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

const ignore = (): void => undefined;

/** JSON that names what this server does not know is refused, as protobuf's JSON mapping asks: a misspelt field must not be ignored. */
const JSON_OPTIONS = { ignoreUnknownFields: false, textDecoder: new TextDecoder('utf-8', { fatal: true }) };

/** A path that calls are made to. */
interface Endpoint {
  /** Of the method, for metrics and spans. */
  readonly name: string;
  readonly method: DescMethod | undefined;
  readonly counts: RpcCounts;
  readonly handler: UniversalHandler | undefined;
  /** For calls that the lean lane takes. */
  readonly lean: LeanMethod | undefined;
}

/** A method that does not exist must not become a label of its own. */
const OTHER = '_OTHER';

const STREAM_TYPE = {
  unary: 'unary',
  server_streaming: 'server_stream',
  client_streaming: 'client_stream',
  bidi_streaming: 'bidi_stream',
} as const satisfies Record<DescMethod['methodKind'], string>;

/** Unknown paths lead to one endpoint without a handler. */
function endpointTable(options: ServerOptions, { routes, metrics }: ServerParts, steps: CallSteps): (path: string) => Endpoint {
  const router = createConnectRouter({
    interceptors: interceptorsOf(steps),
    readMaxBytes: options.maxRequestBytes,
    writeMaxBytes: options.maxResponseBytes,
    acceptCompression: [...ACCEPT_COMPRESSION],
    compressMinBytes: COMPRESS_MIN_BYTES,
    jsonOptions: JSON_OPTIONS,
  });
  for (const route of routes) route(router);
  const lean = options.leanLane ? leanMethods(routes) : undefined;
  const endpoints = new Map<string, Endpoint>();
  for (const handler of router.handlers) {
    const { method, requestPath } = handler;
    const counts = metrics.rpc({ service: method.parent.typeName, method: method.name, type: STREAM_TYPE[method.methodKind] });
    endpoints.set(requestPath, { name: fullName(method), method, counts, handler, lean: lean?.get(requestPath) });
  }
  const unknown: Endpoint = {
    name: OTHER,
    method: undefined,
    counts: metrics.rpc({ service: OTHER, method: OTHER, type: 'unary' }),
    handler: undefined,
    lean: undefined,
  };
  return (path) => endpoints.get(path) ?? endpoints.get(path.split('?', 1)[0] ?? '') ?? unknown;
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
  const { log } = parts;
  const steps = createSteps(log);
  const endpointOf = endpointTable(options, parts, steps);
  const lane = createLeanLane(steps, { ...options, acceptCompression: ACCEPT_COMPRESSION, compressMinBytes: COMPRESS_MIN_BYTES }, log);
  const server = createHttp2Server(options);
  const sockets = new Set<Duplex>();
  const sessions = new Set<ServerHttp2Session>();
  const calledSessions = new WeakSet<Http2Session>();
  const running = new Set<Call>();
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
  /** Why a call is not even looked at. */
  function refusalOf(call: Call, { handler }: Endpoint): ConnectError | undefined {
    if (draining) return errorWith('draining', DRAINING);
    if (handler !== undefined) return undefined;
    const [path] = String(call.headers[':path']).split('?', 1);
    return errorWith('method_unimplemented', `there is no method ${path}`);
  }
  function handle(call: Call, endpoint: Endpoint, flags: number): void {
    const { handler, lean } = endpoint;
    const refusal = refusalOf(call, endpoint);
    if (refusal !== undefined) endWithError(call, refusal);
    if (handler === undefined || refusal !== undefined || !enforceDeadline(call, handler.method, options)) return;
    const byConnect = (body?: AsyncIterable<Uint8Array>): void => call.span.run(() => void answerByConnect(handler, call, log, body));
    if (lean !== undefined && isLean(call.headers, flags)) {
      lane.answer(call, lean, byConnect);
      return;
    }
    if (call.headers['expect'] === '100-continue') call.stream.additionalHeaders({ ':status': 100 });
    byConnect();
  }
  server.on('stream', (stream, headers, flags, rawHeaders) => {
    // A caller may reset its stream at any time; without a listener that would end the process.
    stream.on('error', ignore);
    if (stream.session !== undefined) calledSessions.add(stream.session);
    const endpoint = endpointOf(String(headers[':path']));
    const call = openCall(stream, headers, rawHeaders, endpoint);
    running.add(call);
    endpoint.counts.started();
    stream.once('close', () => {
      running.delete(call);
      clearTimeout(call.timer);
      clearTimeout(call.requestTimer);
      reportEnd(call, endpoint.counts);
      if (draining) setTimeout(dropIdle, LAST_WORDS_MS).unref();
    });
    handle(call, endpoint, flags);
  });
  const port = await listen(server, options);

  const cutOff = (isOver: (call: Call) => boolean): void => {
    const error = errorWith('draining', DRAINING);
    for (const call of [...running]) if (isOver(call)) endWithError(call, error);
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
