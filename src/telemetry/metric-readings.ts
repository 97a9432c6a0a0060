/** What the metrics stand at, as numbers for code of this process: all since the start, so that two readings give a rate. */
import type { MetricObjectWithValues, MetricValueWithName, OpenMetricsContentType, Registry } from 'prom-client';

export interface MethodReading {
  /** `messaging.v1.MessageService` */
  readonly service: string;
  readonly method: string;
  readonly isStream: boolean;
  /** Ended calls by status code as gRPC spells it. */
  readonly codes: ReadonlyMap<string, number>;
  /** Upper bounds of the durations in seconds, rising; the last is infinite. */
  readonly bounds: readonly number[];
  /** Calls at or below each bound. */
  readonly upTo: readonly number[];
}

export const cacheAnswers = ['local', 'redis', 'miss', 'bypass'] as const;
/** Who answered a read: memory of this process, Redis, PostgreSQL after Redis had nothing, PostgreSQL past Redis. */
export type CacheAnswer = (typeof cacheAnswers)[number];

export interface Readings {
  /** By `service/method`. */
  readonly methods: ReadonlyMap<string, MethodReading>;
  readonly reads: Readonly<Record<CacheAnswer, number>>;
  readonly trusted: boolean;
  readonly cacheBreakerOpen: boolean;
  readonly watchers: number;
  readonly pool: { readonly idle: number; readonly used: number; readonly pending: number };
  readonly memoryBytes: number;
}

const ANSWER_OF: Readonly<Record<string, CacheAnswer>> = {
  hit_local: 'local',
  hit: 'redis',
  negative: 'redis',
  miss: 'miss',
  bypass: 'bypass',
};

type Value = MetricValueWithName<string>;

const label = ({ labels }: Value, name: string): string => String((labels as Readonly<Record<string, unknown>>)[name] ?? '');

interface Growing {
  readonly service: string;
  readonly method: string;
  readonly isStream: boolean;
  readonly codes: Map<string, number>;
  readonly buckets: Map<number, number>;
}

function methodsOf(handled: readonly Value[], handling: readonly Value[]): ReadonlyMap<string, MethodReading> {
  const methods = new Map<string, Growing>();
  const methodOf = (value: Value): Growing => {
    const [service, method] = [label(value, 'grpc_service'), label(value, 'grpc_method')];
    const name = `${service}/${method}`;
    const known = methods.get(name) ?? {
      service,
      method,
      isStream: label(value, 'grpc_type') !== 'unary',
      codes: new Map(),
      buckets: new Map(),
    };
    methods.set(name, known);
    return known;
  };
  for (const value of handled) methodOf(value).codes.set(label(value, 'grpc_code'), value.value);
  for (const value of handling) {
    if (!value.metricName?.endsWith('_bucket')) continue;
    const bound = label(value, 'le');
    methodOf(value).buckets.set(bound === '+Inf' ? Number.POSITIVE_INFINITY : Number(bound), value.value);
  }
  const read = ({ buckets, ...rest }: Growing): MethodReading => {
    const bounds = [...buckets.keys()].sort((one, other) => one - other);
    return { ...rest, bounds, upTo: bounds.map((bound) => buckets.get(bound) ?? 0) };
  };
  return new Map([...methods].map(([name, method]) => [name, read(method)]));
}

/** Reads only what it needs of the registry, at the cost of a part of a scrape. */
export async function readMetrics(registry: Registry<OpenMetricsContentType>): Promise<Readings> {
  const valuesOf = async (name: string): Promise<readonly Value[]> => {
    const metric = (await registry.getSingleMetric(name)?.get()) as MetricObjectWithValues<Value> | undefined;
    return metric?.values ?? [];
  };
  const [handled, handling, operations, trusted, breaker, watchers, connections, pending, memory] = await Promise.all([
    valuesOf('grpc_server_handled_total'),
    valuesOf('grpc_server_handling_seconds'),
    valuesOf('cache_operations_total'),
    valuesOf('cache_trusted'),
    valuesOf('cache_breaker_open'),
    valuesOf('watch_streams'),
    valuesOf('db_client_connections'),
    valuesOf('db_client_pending_requests'),
    valuesOf('process_resident_memory_bytes'),
  ]);
  const reads = { local: 0, redis: 0, miss: 0, bypass: 0 };
  for (const value of operations) {
    const answer = label(value, 'operation') === 'get' ? ANSWER_OF[label(value, 'result')] : undefined;
    if (answer !== undefined) reads[answer] += value.value;
  }
  const connectionsIn = (state: string): number => connections.find((value) => label(value, 'state') === state)?.value ?? 0;
  return {
    methods: methodsOf(handled, handling),
    reads,
    trusted: trusted[0]?.value === 1,
    cacheBreakerOpen: breaker[0]?.value === 1,
    watchers: watchers.reduce((sum, { value }) => sum + value, 0),
    pool: { idle: connectionsIn('idle'), used: connectionsIn('used'), pending: pending[0]?.value ?? 0 },
    memoryBytes: memory[0]?.value ?? 0,
  };
}
