/** Who takes part, and what each of them is asked. */
import { HOT_ROWS } from './requests.ts';

export interface Contender {
  readonly name: string;
  /** In bench/contenders. */
  readonly script: string;
  readonly variant?: string;
  /** A database of its own; the others read the common one. */
  readonly database?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Of the service: where it answers from once it is ready to be measured. */
  readonly source?: 'hit' | 'bypass';
}

const MESSAGES = '/messaging.v1.MessageService';
export const GET_MESSAGE = `${MESSAGES}/GetMessage`;

export interface Scenario {
  readonly key: string;
  readonly label: string;
  readonly contender: string;
  readonly path: string;
  readonly requestSet: string;
  readonly order: 'random' | 'cycle';
  /** Over ten connections. */
  readonly inFlight: number;
  /** Each request once and never again, with the cache emptied of them before. */
  readonly isCold?: boolean;
}

const STACKS = { 'grpc-js': 'grpc-js', connect: 'connect-node', lane: 'our lane' } as const;
const SOURCES = {
  ready: 'ready object',
  redis: 'Redis GET + fromJsonString',
  pg: 'pg by primary key',
  'mikro-orm': 'MikroORM findOne',
} as const;
/** In front of pg, behind the fastest stock server. */
const LIBRARIES = {
  'bentocache-redis': 'bentocache, Redis only',
  bentocache: 'bentocache, memory + Redis (in-process copy, no coherence)',
  'cacheable-redis': 'cacheable, Redis only',
  cacheable: 'cacheable, memory + Redis (in-process copy, no coherence)',
} as const;

interface Stock extends Contender {
  readonly label: string;
}

const stock: readonly Stock[] = [
  ...Object.entries(STACKS).flatMap(([script, stack]) =>
    Object.entries(SOURCES).map(([variant, source]) => ({ name: `${script}-${variant}`, script, variant, label: `${stack}, ${source}` })),
  ),
  ...Object.entries(LIBRARIES).map(([variant, library]) => ({ name: variant, script: 'grpc-js', variant, label: `grpc-js, ${library}` })),
];

const CACHE_PREFIX = 'bench:';
/** A process that relays changes has its own database and keys, so that none works for another. */
export const service = (name: string, variant: string, redis: boolean): Contender => ({
  name,
  script: 'service',
  variant,
  database: name.replaceAll('-', '_'),
  env: redis ? { CACHE_KEY_PREFIX: prefixOf(name) } : { REDIS_HOST: '' },
  source: redis ? 'hit' : 'bypass',
});
export const prefixOf = (contender: string): string => `${CACHE_PREFIX}${contender}:`;

export const contenders: readonly Contender[] = [
  { name: 'floor', script: 'floor' },
  ...stock,
  service('service', 'full', true),
  service('service-no-telemetry', 'no-telemetry', true),
  service('service-naive', 'naive', true),
  service('service-no-cache', 'full', false),
];

const IN_FLIGHT = 100;
const get = (key: string, label: string, contender = key, requestSet = 'hot'): Scenario => ({
  ...{ key, label, contender, requestSet, path: GET_MESSAGE, order: 'random', inFlight: IN_FLIGHT },
});

const stockOf = (...scripts: readonly string[]): readonly Scenario[] =>
  stock.filter(({ script }) => scripts.includes(script)).map(({ name, label }) => get(name, label));

/** In the order in which they are measured: what is compared stands close together, for the machine is not the same all the time. */
export const scenarios: readonly Scenario[] = [
  get('floor', 'floor: bare node:http2, fixed bytes', 'floor', 'any'),
  get('strong', 'service, strong hit', 'service'),
  get('bounded', 'service, hit with max_staleness 5 s', 'service', 'bounded'),
  get('no-telemetry', 'service without telemetry, strong hit', 'service-no-telemetry'),
  get('naive', 'service with a plain cache-aside, hit', 'service-naive'),
  ...stockOf('grpc-js', 'connect', 'lane'),
  { ...get('miss', 'service, miss: lease, SELECT, fill', 'service', 'cold'), order: 'cycle', isCold: true },
  get('no-cache', 'service without Redis, GetMessage', 'service-no-cache'),
  // Each connection takes no more than 64 KiB of requests at once.
  { ...get('batch', 'service, BatchGetMessages of 100 hits', 'service', 'batch'), path: `${MESSAGES}/BatchGetMessages`, inFlight: 20 },
  { ...get('send', 'service, SendMessage', 'service', 'send'), path: `${MESSAGES}/SendMessage`, order: 'cycle' },
  {
    ...get('send-no-cache', 'service without Redis, SendMessage', 'service-no-cache', 'send'),
    path: `${MESSAGES}/SendMessage`,
    order: 'cycle',
  },
  {
    ...get('update', 'service, UpdateConversation', 'service', 'update'),
    path: '/messaging.v1.ConversationService/UpdateConversation',
    order: 'cycle',
  },
];

export interface Form {
  readonly rounds: number;
  readonly warmUpRequests: number;
  readonly warmUpMs: number;
  readonly rampMs: number;
  readonly windowMs: number;
  /** Of latency at half of saturation. */
  readonly latencyMs: number;
  readonly unloadedMs: number;
  readonly coldRows: number;
}

export const FULL: Form = {
  rounds: 5,
  warmUpRequests: 5_000,
  warmUpMs: 5_000,
  rampMs: 250,
  windowMs: 1_800,
  latencyMs: 1_200,
  unloadedMs: 800,
  coldRows: 30_000,
};
export const SHORT: Form = {
  rounds: 3,
  warmUpRequests: 3_000,
  warmUpMs: 1_200,
  rampMs: 100,
  windowMs: 600,
  latencyMs: 400,
  unloadedMs: 300,
  coldRows: 10_000,
};

export const tableRows = ({ coldRows }: Form): number => HOT_ROWS + coldRows;
