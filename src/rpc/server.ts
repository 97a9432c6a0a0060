/** The port of gRPC, gRPC-Web and Connect: one HTTP/2 server, counted, traced and bounded at the stream. */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  constants,
  createSecureServer,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Duplex } from 'node:stream';
import type { ConnectError } from '@connectrpc/connect';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { AccessControl } from './access-control.ts';
import { CALL, type Call, type CalledStream, openCall } from './call.ts';
import { ACCEPT_COMPRESSION, COMPRESS_MIN_BYTES } from './compression.ts';
import { answerByConnect } from './connect-lane.ts';
import type { Connection, PeerSocket } from './connection.ts';
import { guardConnections } from './connection-limits.ts';
import { enforceDeadline, sweepDeadlines } from './deadline.ts';
import { endpointTable, type Routes } from './endpoint-table.ts';
import { errorWith } from './errors.ts';
import { createLeanLane, isLean } from './lean-lane.ts';
import { PatientClock } from './patient-clock.ts';
import { reportEnd } from './report-end.ts';
import { endWithError } from './response.ts';
import { createSteps } from './steps.ts';

export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** Authorities of client certificates; undefined: clients are not asked for one. */
  readonly clientCaFile: string | undefined;
}

export interface ServerOptions {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** Other processes may listen on the port too; the kernel gives each connection to one of them. Default false. */
  readonly reusePort?: boolean;
  /** undefined: cleartext HTTP/2. */
  readonly tls: TlsFiles | undefined;
  readonly maxRequestBytes: number;
  readonly maxResponseBytes: number;
  /** For unary calls that bring no deadline. */
  readonly defaultDeadlineMs: number;
  readonly maxDeadlineMs: number;
  /** For a request to arrive whole. */
  readonly requestTimeoutMs: number;
  readonly maxConcurrentStreams: number;
  readonly maxConnections: number;
  readonly maxConnectionsPerAddress: number;
  /** Off: Connect answers every call. The answers are the same. */
  readonly leanLane: boolean;
}

export interface ServerParts {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly routes: Routes;
  readonly access: AccessControl;
}

export interface RpcServer {
  readonly port: number;
  /** Refuses new calls, lets running ones finish, and cuts them off after `timeoutMs`. */
  close(timeoutMs: number): Promise<void>;
}

const MAX_HEADER_BYTES = 16_384;
const MAX_HEADER_PAIRS = 48;
const UNKNOWN_PROTOCOL_TIMEOUT_MS = 1_000;
/**
 * Of a connection, and no limit that is met: what nghttp2 holds are mostly answers that wait, and connection-limits.ts bounds those of all
 * connections together. nghttp2 would refuse whatever is called next, beside a large answer that is taken slowly.
 */
const MAX_SESSION_MEGABYTES = 64;
/** Calls that a connection may cancel: Node's own, 1,000 and 33, would end clients that hedge or lose interest often. */
const RESET_BURST = 5_000;
const RESETS_PER_SECOND = 500;
const DRAINING = 'this server is shutting down; call another one';
const TLS_HANDSHAKE_TIMEOUT_MS = 5_000;
/** For peers to learn that the server closes, before their connections are cut. */
const LAST_WORDS_MS = 200;

function createHttp2Server({ tls, maxConcurrentStreams }: ServerOptions, metrics: Metrics): Http2Server {
  const settings = { maxConcurrentStreams, maxHeaderListSize: MAX_HEADER_BYTES };
  const limits = {
    settings,
    maxHeaderListPairs: MAX_HEADER_PAIRS,
    unknownProtocolTimeout: UNKNOWN_PROTOCOL_TIMEOUT_MS,
    streamResetBurst: RESET_BURST,
    streamResetRate: RESETS_PER_SECOND,
    maxSessionMemory: MAX_SESSION_MEGABYTES,
  };
  if (tls === undefined) return createServer(limits);
  const secure = { cert: readFileSync(tls.certFile), key: readFileSync(tls.keyFile), handshakeTimeout: TLS_HANDSHAKE_TIMEOUT_MS };
  metrics.certificateEnds(new X509Certificate(secure.cert).validToDate);
  // Who has none, or one that is not trusted, may still ask for what is open to all; see access-control.ts.
  const clients =
    tls.clientCaFile === undefined ? {} : { ca: readFileSync(tls.clientCaFile), requestCert: true, rejectUnauthorized: false };
  return createSecureServer({ ...limits, ...secure, ...clients, ALPNProtocols: ['h2'] });
}

const ignore = (): void => undefined;

/** Throws what listen() reports, e.g. EADDRINUSE. */
async function listen(server: Http2Server, { host, port, reusePort = false }: ServerOptions): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, host, reusePort }, () => {
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
  const { log, access } = parts;
  const steps = createSteps(log);
  const endpointOf = endpointTable(options, { ...parts, steps });
  const byConnect = (call: Call, body?: AsyncIterable<Uint8Array>): void => {
    call.span.run(() => void answerByConnect(call, log, body));
  };
  const lane = createLeanLane(
    { ...options, acceptCompression: ACCEPT_COMPRESSION, compressMinBytes: COMPRESS_MIN_BYTES },
    { steps, handOver: byConnect, log },
  );
  const server = createHttp2Server(options, parts.metrics);
  const sockets = new Set<Duplex>();
  const sessions = new Set<ServerHttp2Session>();
  const running = new Set<Call>();
  const nowMs = () => performance.now();
  const clock = new PatientClock(nowMs);
  const guard = guardConnections(options, { log, metrics: parts.metrics, running, nowMs, clock });
  let draining = false;
  /** Without calls, what is left are peers that do not shake hands, or do not hang up. */
  const dropIdle = (): void => {
    if (running.size === 0) for (const socket of sockets) socket.destroy();
  };

  const begins = server.listeners('connection');
  server.removeAllListeners('connection').on('connection', (socket: PeerSocket) => {
    if (!guard.admits(socket)) return;
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // Node's own: here HTTP/2 begins, or TLS before it.
    for (const begin of begins) begin.call(server, socket);
  });
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    // A peer that breaks the protocol ends its own connection; without a listener it would end the process.
    session.on('error', (error) => log.debug({ err: error }, 'connection failed'));
    const connection = guard.began(session);
    if (connection === undefined) return;
    session.on('stream', (stream, headers, flags, rawHeaders) => onStream(connection, stream, headers, flags, rawHeaders));
  });
  /** Why a call is not even looked at. */
  function refusalOf({ endpoint, headers }: Call): ConnectError | undefined {
    if (draining) return errorWith('draining', DRAINING);
    if (endpoint.handler !== undefined) return undefined;
    const [path] = String(headers[':path']).split('?', 1);
    return errorWith('method_unimplemented', `there is no method ${path}`);
  }
  function serve(call: Call, flags: number): void {
    const { lean } = call.endpoint;
    if (lean !== undefined && isLean(call.headers)) {
      lane.take(call, lean, flags);
      return;
    }
    if (call.headers['expect'] === '100-continue') call.stream.additionalHeaders({ ':status': 100 });
    byConnect(call);
  }
  function settle(call: Call, refusal: ConnectError | undefined, flags: number): void {
    if (refusal === undefined) serve(call, flags);
    else endWithError(call, refusal);
  }
  function handle(call: Call, flags: number): void {
    const { method } = call.endpoint;
    const refusal = refusalOf(call);
    if (refusal !== undefined) endWithError(call, refusal);
    if (method === undefined || refusal !== undefined || !enforceDeadline(call, method, options, guard.requestWasSlow)) return;
    const admission = access.admit(call);
    if (!(admission instanceof Promise)) {
      settle(call, admission, flags);
      return;
    }
    void admission.then((found) => {
      // It may have been told meanwhile that its time is up, or have gone.
      if (call.told === undefined && !call.stream.destroyed) settle(call, found, flags);
    });
  }
  function onClose(this: CalledStream): void {
    const call = this[CALL];
    if (call === undefined) return;
    this[CALL] = undefined;
    running.delete(call);
    clearTimeout(call.timer);
    reportEnd(call);
    guard.ended(call);
    if (draining) setTimeout(dropIdle, LAST_WORDS_MS).unref();
  }
  function onStream(
    connection: Connection,
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    flags: number,
    rawHeaders: readonly string[],
  ): void {
    // A caller may reset its stream at any time; without a listener that would end the process.
    stream.on('error', ignore);
    if (!guard.mayCall(connection, stream)) {
      // Which says that nothing was done, so it may be sent again.
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
      return;
    }
    const endpoint = endpointOf(String(headers[':path']));
    const openedMs = nowMs();
    const call = openCall({ stream, headers, rawHeaders, endpoint, connection, openedMs, patientMs: clock.nowMs(openedMs) });
    running.add(call);
    guard.called(call);
    endpoint.counts.started();
    // It comes once; a listener for one time would cost more.
    stream.on('close', onClose);
    handle(call, flags);
  }
  const port = await listen(server, options);
  const ticking = clock.run();
  const sweeper = sweepDeadlines(running, clock, guard.requestWasSlow);

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
      cutOff(({ endpoint }) => endpoint.method?.methodKind === 'bidi_streaming');
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
      ticking.stop();
      sweeper.stop();
      guard.stop();
      for (const timer of timers) clearTimeout(timer);
    },
  };
}
