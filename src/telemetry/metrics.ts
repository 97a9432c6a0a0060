/** Every metric of the service. Labels are closed sets: never an id, an address or anything else a caller chose. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, type LabelValues, type OpenMetricsContentType, Registry } from 'prom-client';

type CacheOperation = 'get' | 'set' | 'delete';

/** `refused`: Redis no longer held the token. `bypass`: Redis was not asked, or what it held is not ours. */
type CacheResult = 'hit' | 'miss' | 'ok' | 'refused' | 'error' | 'bypass';

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

interface RpcHandled extends RpcMethod {
  readonly system: 'grpc' | 'connectrpc';
  /** As gRPC spells it, `NOT_FOUND`. */
  readonly code: string;
  readonly seconds: number;
  /** Becomes the exemplar; only of a trace that is recorded. */
  readonly trace?: { readonly traceId: string; readonly spanId: string } | undefined;
}

interface PoolState {
  /** Connections open and free. */
  readonly idle: number;
  /** Connections open and taken. */
  readonly used: number;
  /** Callers that wait for one. */
  readonly pending: number;
}

export interface Metrics {
  rpcStarted(method: RpcMethod): void;
  rpcHandled(handled: RpcHandled): void;
  /** `seconds`: the time until Redis answered, when it was asked. */
  trackCacheOperation(operation: CacheOperation, result: CacheResult, entity: CacheEntity, seconds?: number): void;
  cacheBreaker(open: boolean): void;
  /** `read` is called at every scrape and must not throw. The latest one counts. */
  watchPool(read: () => PoolState): void;
  /** OpenMetrics text. */
  exposition(): Promise<{ readonly contentType: string; readonly text: string }>;
}

/** From a cache hit, below a millisecond, to the longest deadline anyone waits for. */
const SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const CACHE_SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1];

/** Returns what was made for a key before, or makes it: finding a metric's child anew for every call is most of its cost. */
function remember<Value>(make: (key: string) => Value): (key: string) => Value {
  const made = new Map<string, Value>();
  return (key) => {
    const known = made.get(key);
    if (known !== undefined) return known;
    const value = make(key);
    made.set(key, value);
    return value;
  };
}

function timed<Label extends string>(histogram: Histogram<Label>, labels: Record<Label, string>) {
  const unsampled = histogram.labels(labels);
  return ({ seconds, trace }: RpcHandled): void => {
    if (trace === undefined) {
      unsampled.observe(seconds);
      return;
    }
    const exemplar = { trace_id: trace.traceId, span_id: trace.spanId };
    // prom-client's types take an exemplar for labels of the metric.
    histogram.observe({ labels, value: seconds, exemplarLabels: exemplar as LabelValues<Label> });
  };
}

function rpcMetrics(registers: [Registry<OpenMetricsContentType>]): Pick<Metrics, 'rpcStarted' | 'rpcHandled'> {
  const methodLabels = ['grpc_type', 'grpc_service', 'grpc_method'] as const;
  const started = new Counter({ name: 'grpc_server_started_total', help: 'Calls that began.', labelNames: methodLabels, registers });
  const handled = new Counter({
    name: 'grpc_server_handled_total',
    help: 'Calls that ended, by status code.',
    labelNames: [...methodLabels, 'grpc_code'] as const,
    registers,
  });
  const handling = new Histogram({
    name: 'grpc_server_handling_seconds',
    help: 'Time from the request headers to the end of the stream.',
    labelNames: methodLabels,
    buckets: SECONDS,
    enableExemplars: true,
    registers,
  });
  const duration = new Histogram({
    name: 'rpc_server_call_duration_seconds',
    help: 'Duration of a call; rpc.server.call.duration of the OpenTelemetry semantic conventions.',
    labelNames: ['rpc_system_name', 'rpc_method', 'rpc_status_code'] as const,
    buckets: SECONDS,
    enableExemplars: true,
    registers,
  });
  const split = (key: string): readonly string[] => key.split(' ');
  const startedOf = remember((key) => started.labels(...split(key)));
  const handledOf = remember((key) => handled.labels(...split(key)));
  const handlingOf = remember((key) => {
    const [grpc_type = '', grpc_service = '', grpc_method = ''] = split(key);
    return timed(handling, { grpc_type, grpc_service, grpc_method });
  });
  const durationOf = remember((key) => {
    const [rpc_system_name = '', rpc_method = '', rpc_status_code = ''] = split(key);
    return timed(duration, { rpc_system_name, rpc_method, rpc_status_code });
  });
  const keyOf = ({ type, service, method }: RpcMethod): string => `${type} ${service} ${method}`;
  return {
    rpcStarted(method) {
      startedOf(keyOf(method)).inc();
    },
    rpcHandled(call) {
      const code = RPC_CODES.has(call.code) ? call.code : 'UNKNOWN';
      const method = call.method === '_OTHER' ? '_OTHER' : `${call.service}/${call.method}`;
      handledOf(`${keyOf(call)} ${code}`).inc();
      handlingOf(keyOf(call))(call);
      durationOf(`${call.system} ${method} ${code}`)(call);
    },
  };
}

function cacheMetrics(registers: [Registry<OpenMetricsContentType>]): Pick<Metrics, 'trackCacheOperation' | 'cacheBreaker'> {
  const operations = new Counter({
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
  const breaker = new Gauge({ name: 'cache_breaker_open', help: '1 while Redis is not asked because it did not answer.', registers });
  const counterOf = remember((key) => operations.labels(...key.split(' ')));
  const durationOf = remember((key) => duration.labels(...key.split(' ')));
  // A rate over a counter that is not there yet misses its first increment.
  for (const entity of ['message', 'conversation'] satisfies CacheEntity[]) {
    for (const result of ['hit', 'miss', 'bypass', 'error'] satisfies CacheResult[]) counterOf(`get ${result} ${entity}`).inc(0);
  }
  return {
    trackCacheOperation(operation, result, entity, seconds) {
      counterOf(`${operation} ${result} ${entity}`).inc();
      if (seconds !== undefined) durationOf(`${operation} ${entity}`).observe(seconds);
    },
    cacheBreaker(open) {
      breaker.set(open ? 1 : 0);
    },
  };
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
    ...cacheMetrics(registers),
    ...poolMetrics(registers),
    exposition: async () => ({ contentType: registry.contentType, text: await registry.metrics() }),
  };
}
