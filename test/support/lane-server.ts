/** A server with handlers of the test's own, with the lean lane or without it, and what is seen of it from both sides. */
import { openAccess } from '../../src/rpc/access-control.ts';
import { type ServerOptions, type ServerParts, startRpcServer } from '../../src/rpc/server.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import type { LogLine } from './apps.ts';
import { connectRaw, type RawClient, type RawResponse } from './raw-calls.ts';

export interface Lane extends AsyncDisposable {
  readonly name: string;
  readonly raw: RawClient;
  readonly port: number;
  readonly logLines: () => readonly LogLine[];
  /** How many calls ended with which code, as `NOT_FOUND`. */
  handled(): Promise<Readonly<Record<string, number>>>;
  /** Calls that began and have not ended. */
  running(): Promise<number>;
  close(timeoutMs: number): Promise<void>;
}

const OPTIONS: ServerOptions = {
  host: '127.0.0.1',
  port: 0,
  tls: undefined,
  maxRequestBytes: 1_000_000,
  maxResponseBytes: 200_000,
  defaultDeadlineMs: 30_000,
  maxDeadlineMs: 60_000,
  maxConcurrentStreams: 100,
  maxConnections: 100,
  maxConnectionsPerAddress: 100,
  requestTimeoutMs: 30_000,
  leanLane: true,
};

/** Of calls with one request, as those of the lean lane; reflection has many. */
const SAMPLE = /^grpc_server_(handled|started)_total\{(.*grpc_type="(?:unary|server_stream)".*)\} (\d+)$/gm;

interface Sample {
  readonly kind: string;
  readonly code: string;
  readonly count: number;
}

function samplesOf(exposition: string): readonly Sample[] {
  return [...exposition.matchAll(SAMPLE)].map(([, kind = '', labels = '', count]) => {
    return { kind, code: /grpc_code="([^"]*)"/.exec(labels)?.[1] ?? '', count: Number(count) };
  });
}

export async function startLane(leanLane: boolean, routes: ServerParts['routes'], options: Partial<ServerOptions> = {}): Promise<Lane> {
  const lines: string[] = [];
  const log = createLog({ level: 'info', destination: { write: (line: string) => lines.push(line) } });
  const metrics = createMetrics();
  const server = await startRpcServer({ ...OPTIONS, ...options, leanLane }, { log, metrics, routes, access: openAccess });
  const raw = await connectRaw(`http://127.0.0.1:${server.port}`);
  const samples = async () => samplesOf((await metrics.exposition()).text);
  const sum = (all: readonly Sample[], of: string) => all.filter(({ kind }) => kind === of).reduce((total, { count }) => total + count, 0);
  return {
    name: leanLane ? 'lean' : 'Connect',
    raw,
    port: server.port,
    logLines: () => lines.map((line): LogLine => JSON.parse(line)),
    async handled() {
      const ended = (await samples()).filter(({ kind, count }) => kind === 'handled' && count > 0);
      return Object.fromEntries(ended.map(({ code, count }) => [code, count]));
    },
    async running() {
      const all = await samples();
      return sum(all, 'started') - sum(all, 'handled');
    },
    close: (timeoutMs) => server.close(timeoutMs),
    async [Symbol.asyncDispose]() {
      await raw[Symbol.asyncDispose]();
      await server.close(0);
    },
  };
}

/** What a caller sees of an answer, but for the time of day. */
export function seenOf({ headers, trailers, body, ...response }: RawResponse) {
  const { date: _, ...others } = headers;
  return { ...response, headers: others, trailers: { ...trailers }, body: body.toString('latin1') };
}
