/** Every metric of the service. Labels are closed sets: never an id, an address or anything else a caller chose. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, type OpenMetricsContentType, Registry } from 'prom-client';
import { type ConnectionMetrics, connectionMetrics } from './connection-metrics.ts';
import { type DeliveryMetrics, deliveryMetrics } from './delivery-metrics.ts';
import { DurationHistogram, type Exemplar, remember, tallied } from './metric-children.ts';
import { type Readings, readMetrics } from './metric-readings.ts';

export type CacheOperation = 'get' | 'set' | 'delete';

/**
 * `hit_local`: from process memory. `negative`: cached that there is no such row. `refused`: Redis no longer held the token. `bypass`:
 * Redis was not asked, or what it held is no value of ours.
 */
export type CacheResult = 'hit' | 'hit_local' | 'negative' | 'miss' | 'ok' | 'refused' | 'error' | 'bypass';

type CacheEntity = 'message' | 'conversation';

const RPC_CODES: ReadonlySet<string> = new Set([
  ...['OK', 'CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED', 'NOT_FOUND', 'ALREADY_EXISTS', 'PERMISSION_DENIED'],
  ...['RESOURCE_EXHAUSTED', 'FAILED_PRECONDITION', 'ABORTED', 'OUT_OF_RANGE', 'UNIMPLEMENTED', 'INTERNAL', 'UNAVAILABLE'],
  ...['DATA_LOSS', 'UNAUTHENTICATED'],
]);

/** A method of the contract; one that does not exist has `_OTHER` for service and method. */
interface RpcMethod {
  /** `messaging.v1.MessageService` */
  readonly service: string;
  /** `GetMessage` */
  readonly method: string;
  readonly type: 'unary' | 'server_stream' | 'client_stream' | 'bidi_stream';
}

/** The metrics of one method, found once. */
export interface RpcCounts {
  started(): void;
  /**
   * `code`: as gRPC spells it, `NOT_FOUND`. `trace` becomes the exemplar; only of a trace that is recorded.
   */
  handled(system: 'grpc' | 'connectrpc', code: string, seconds: number, trace?: Exemplar | undefined): void;
}

interface PoolState {
  /** Connections open and free. */
  readonly idle: number;
  /** Connections open and taken. */
  readonly used: number;
  /** Callers that wait for one. */
  readonly pending: number;
}

export interface Metrics extends DeliveryMetrics, ConnectionMetrics {
  rpc(method: RpcMethod): RpcCounts;
  /** What counts one kind of outcome. */
  cacheOperations(operation: CacheOperation, result: CacheResult, entity: CacheEntity): { inc(): void };
  /** What takes the seconds until Redis answered. */
  cacheDuration(operation: CacheOperation, entity: CacheEntity): { observe(seconds: number): void };
  cacheBreaker(open: boolean): void;
  cacheStored(entity: CacheEntity, bytes: number): void;
  /** `failed`: Redis did not take it; the relay will. */
  cacheSettled(outcome: 'stored' | 'dropped' | 'left' | 'failed'): void;
  cacheMarksFailed(count: number): void;
  cacheVerified(result: 'match' | 'mismatch' | 'superseded'): void;
  cacheFlushed(): void;
  /** What the relay found in one pass; only the process that relays reports it, and zeros when it stops doing so. */
  relayPassed(found: { readonly rows: number; readonly oldestSeconds: number }): void;
  /** What waits for a relay, whether there is one or not; workers report it. */
  outboxWaits(found: { readonly rows: number; readonly oldestSeconds: number }): void;
  /** Whether it answered when it was last asked. */
  dependencyUp(dependency: 'postgresql' | 'redis', up: boolean): void;
  /** `read` is called at every scrape and must not throw. The latest one counts. */
  watchTrust(read: () => boolean): void;
  /** `read` is called at every scrape and must not throw. The latest one counts. */
  watchPool(read: () => PoolState): void;
  /** OpenMetrics text. */
  exposition(): Promise<{ readonly contentType: string; readonly text: string }>;
  readings(): Promise<Readings>;
}

/** From a cache hit, below a millisecond, to the longest deadline anyone waits for. */
const SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const VALUE_BYTES = [256, 512, 1_024, 2_048, 4_096, 16_384, 65_536, 262_144];
const CACHE_SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1];

function rpcMetrics(registers: [Registry<OpenMetricsContentType>]): Pick<Metrics, 'rpc'> {
  const methodLabels = ['grpc_type', 'grpc_service', 'grpc_method'] as const;
  const started = tallied({ name: 'grpc_server_started_total', help: 'Calls that began.', labelNames: methodLabels, registers });
  const handled = tallied({
    name: 'grpc_server_handled_total',
    help: 'Calls that ended, by status code.',
    labelNames: [...methodLabels, 'grpc_code'] as const,
    registers,
  });
  const handling = new DurationHistogram({
    name: 'grpc_server_handling_seconds',
    help: 'Time from the request headers to the end of the stream.',
    labelNames: methodLabels,
    buckets: SECONDS,
    registers,
  });
  const duration = new DurationHistogram({
    name: 'rpc_server_call_duration_seconds',
    help: 'Duration of a call; rpc.server.call.duration of the OpenTelemetry semantic conventions.',
    labelNames: ['rpc_system_name', 'rpc_method', 'rpc_status_code'] as const,
    buckets: SECONDS,
    registers,
  });
  return {
    rpc({ service, method, type }) {
      const fullName = method === '_OTHER' ? '_OTHER' : `${service}/${method}`;
      const labels = { grpc_type: type, grpc_service: service, grpc_method: method };
      const startedOnes = started(labels);
      const observeHandling = handling.series(labels);
      const handledBy = remember((grpc_code: string) => handled({ ...labels, grpc_code }));
      const durationBy = (rpc_system_name: string) =>
        remember((code: string) => duration.series({ rpc_system_name, rpc_method: fullName, rpc_status_code: code }));
      const durations = { grpc: durationBy('grpc'), connectrpc: durationBy('connectrpc') };
      return {
        started: () => startedOnes.inc(),
        handled(system, status, seconds, trace) {
          const code = RPC_CODES.has(status) ? status : 'UNKNOWN';
          handledBy(code).inc();
          observeHandling(seconds, trace);
          durations[system](code)(seconds, trace);
        },
      };
    },
  };
}

type CacheCounts = Pick<Metrics, 'cacheOperations' | 'cacheDuration' | 'cacheBreaker' | 'cacheStored'>;

function cacheMetrics(registers: [Registry<OpenMetricsContentType>]): CacheCounts {
  const operations = tallied({
    name: 'cache_operations_total',
    help: 'What was asked of the cache, and what came of it.',
    labelNames: ['operation', 'result', 'entity'] as const,
    registers,
  });
  const duration = new Histogram({
    name: 'cache_operation_duration_seconds',
    help: 'Time until Redis answered.',
    labelNames: ['operation', 'entity'] as const,
    buckets: CACHE_SECONDS,
    registers,
  });
  const bytes = new Histogram({
    name: 'cache_value_bytes',
    help: 'Size of the values that were stored.',
    labelNames: ['entity'] as const,
    buckets: VALUE_BYTES,
    registers,
  });
  const breaker = new Gauge({ name: 'cache_breaker_open', help: '1 while Redis is not asked because it did not answer.', registers });
  // A rate over a counter that is not there yet misses its first increment.
  for (const entity of ['message', 'conversation'] satisfies CacheEntity[]) {
    for (const result of ['hit', 'miss', 'bypass', 'error'] satisfies CacheResult[]) operations({ operation: 'get', result, entity });
  }
  return {
    cacheOperations: (operation, result, entity) => operations({ operation, result, entity }),
    cacheDuration: (operation, entity) => duration.labels(operation, entity),
    cacheBreaker: (open) => breaker.set(open ? 1 : 0),
    cacheStored: (entity, size) => bytes.labels(entity).observe(size),
  };
}

type CoherenceCounts = Pick<
  Metrics,
  'cacheSettled' | 'cacheMarksFailed' | 'cacheVerified' | 'cacheFlushed' | 'relayPassed' | 'outboxWaits' | 'watchTrust'
>;

function coherenceMetrics(registers: [Registry<OpenMetricsContentType>]): CoherenceCounts {
  const settles = new Counter({
    name: 'cache_settles_total',
    help: 'Entries that a write dealt with after its commit, by outcome.',
    labelNames: ['outcome'] as const,
    registers,
  });
  const marks = new Counter({ name: 'cache_mark_failures_total', help: 'Write marks that Redis did not confirm.', registers });
  const verified = new Counter({
    name: 'cache_verify_total',
    help: 'Hits that were compared with their row. mismatch must stay 0.',
    labelNames: ['result'] as const,
    registers,
  });
  const flushes = new Counter({
    name: 'cache_epoch_flushes_total',
    help: 'Times the cache was emptied for another Redis or database.',
    registers,
  });
  const lag = new Gauge({ name: 'cache_relay_lag_seconds', help: 'Age of the oldest change in the last pass of the relay.', registers });
  const rows = new Gauge({ name: 'cache_outbox_rows', help: 'Changes in the last pass of the relay.', registers });
  const waiting = new Gauge({
    name: 'cache_outbox_waiting_rows',
    help: 'Changes that wait in PostgreSQL to be told to the cache.',
    registers,
  });
  const waitingFor = new Gauge({ name: 'cache_outbox_waiting_seconds', help: 'Age of the oldest of them.', registers });
  let isTrusted: (() => boolean) | undefined;
  new Gauge({
    name: 'cache_trusted',
    help: '1 while this process answers from the cache.',
    registers,
    collect() {
      if (isTrusted !== undefined) this.set(isTrusted() ? 1 : 0);
    },
  });
  for (const outcome of ['stored', 'dropped', 'left', 'failed']) settles.labels(outcome).inc(0);
  for (const result of ['match', 'mismatch', 'superseded']) verified.labels(result).inc(0);
  return {
    cacheSettled: (outcome) => settles.labels(outcome).inc(),
    cacheMarksFailed: (count) => marks.inc(count),
    cacheVerified: (result) => verified.labels(result).inc(),
    cacheFlushed: () => flushes.inc(),
    relayPassed(found) {
      lag.set(found.oldestSeconds);
      rows.set(found.rows);
    },
    outboxWaits(found) {
      waiting.set(found.rows);
      waitingFor.set(found.oldestSeconds);
    },
    watchTrust(read) {
      isTrusted = read;
    },
  };
}

function dependencyMetrics(registers: [Registry<OpenMetricsContentType>]): Pick<Metrics, 'dependencyUp'> {
  const up = new Gauge({
    name: 'dependency_up',
    help: '1 while PostgreSQL, or Redis, answers this process; asked every second.',
    labelNames: ['dependency'] as const,
    registers,
  });
  return { dependencyUp: (dependency, isUp) => up.labels(dependency).set(isUp ? 1 : 0) };
}

function poolMetrics(registers: [Registry<OpenMetricsContentType>]): Pick<Metrics, 'watchPool'> {
  let read: (() => PoolState) | undefined;
  new Gauge({
    name: 'db_client_connections',
    help: 'Open PostgreSQL connections, by state.',
    labelNames: ['state'] as const,
    registers,
    collect() {
      if (read === undefined) return;
      const { idle, used } = read();
      this.set({ state: 'idle' }, idle);
      this.set({ state: 'used' }, used);
    },
  });
  new Gauge({
    name: 'db_client_pending_requests',
    help: 'Callers that wait for a PostgreSQL connection.',
    registers,
    collect() {
      if (read !== undefined) this.set(read().pending);
    },
  });
  return {
    watchPool(latest) {
      read = latest;
    },
  };
}

export function createMetrics(): Metrics {
  const registry = new Registry<OpenMetricsContentType>();
  // Only OpenMetrics has a place for exemplars.
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  const registers: [Registry<OpenMetricsContentType>] = [registry];
  collectDefaultMetrics({ register: registry });
  return {
    ...rpcMetrics(registers),
    ...connectionMetrics(registers),
    ...cacheMetrics(registers),
    ...coherenceMetrics(registers),
    ...dependencyMetrics(registers),
    ...poolMetrics(registers),
    ...deliveryMetrics(registers),
    exposition: async () => ({ contentType: registry.contentType, text: await registry.metrics() }),
    readings: () => readMetrics(registry),
  };
}
