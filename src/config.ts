/** Environment -> one frozen, typed Config. The only reader of process.env. */
import { bool, cleanEnv, EnvError, EnvMissingError, makeValidator, num, port, str } from 'envalid';

const integer = (atLeast: number, atMost: number) =>
  makeValidator<number>((input) => {
    const value = Number(input);
    if (!Number.isInteger(value) || value < atLeast || value > atMost) {
      throw new EnvError(`must be a whole number from ${atLeast} to ${atMost}`);
    }
    return value;
  });

const postgresUrl = makeValidator<string>((input) => {
  if (!/^postgres(ql)?:\/\/\S+$/.test(input)) throw new EnvError('must look like postgresql://user:password@host:5432/database');
  return input;
});

const listOf = (input: string): readonly string[] =>
  input
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');

const addressList = makeValidator<readonly string[]>(listOf);

const serverList = makeValidator<readonly { readonly host: string; readonly port: number }[]>((input) =>
  listOf(input).map((part) => {
    const [, host, portText] = /^([^\s;/@]+):(\d{1,5})$/.exec(part) ?? [];
    if (host === undefined || Number(portText) < 1 || Number(portText) > 65_535) throw new EnvError('must look like host:6379,host:6380');
    return { host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(portText) };
  }),
);

const ratio = makeValidator<number>((input) => {
  const value = Number(input);
  if (input.trim() === '' || !(value >= 0 && value <= 1)) throw new EnvError('must be from 0 to 1');
  return value;
});

/** Every variable the service reads: its rule, its default and its meaning. README's table is tested against this. */
export const variables = {
  DATABASE_URL: postgresUrl({ desc: 'PostgreSQL connection string. Secret: holds the password.' }),
  DATABASE_POOL_MAX: integer(
    1,
    500,
  )({ default: 10, desc: 'PostgreSQL connections of this process at most, and one more for relaying invalidations.' }),
  DATABASE_STATEMENT_TIMEOUT_MS: integer(10, 600_000)({ default: 5_000, desc: 'PostgreSQL cancels a statement that runs longer.' }),
  DATABASE_CONNECT_TIMEOUT_MS: integer(10, 600_000)({ default: 10_000, desc: 'Longest wait for a PostgreSQL connection.' }),
  DATABASE_MIGRATE_ON_START: bool({ default: false, desc: 'Bring the schema up to date before serving.' }),
  REDIS_HOST: str({
    default: '',
    desc: 'Redis host name. Without it, sentinels or cluster nodes the cache is off and every read goes to PostgreSQL.',
  }),
  REDIS_PORT: port({ default: 6379, desc: 'Redis port.' }),
  REDIS_DB: integer(0, 65_535)({ default: 0, desc: 'Redis database number.' }),
  REDIS_PASSWORD: str({ default: '', desc: 'Redis password. Secret.' }),
  REDIS_TLS: bool({ default: false, desc: 'Speak TLS to Redis.' }),
  REDIS_SENTINELS: serverList({ default: [], desc: 'Sentinels, host:port, comma separated, in place of REDIS_HOST.' }),
  REDIS_SENTINEL_MASTER: str({ default: 'mymaster', desc: 'What the sentinels call the master.' }),
  REDIS_SENTINEL_PASSWORD: str({ default: '', desc: 'Password of the sentinels. Secret.' }),
  REDIS_CLUSTER_NODES: serverList({
    default: [],
    desc: 'Some nodes of a Redis Cluster, host:port, comma separated, in place of REDIS_HOST.',
  }),
  REDIS_COMMAND_TIMEOUT_MS: integer(1, 60_000)({ default: 50, desc: 'Longest wait for an answer of Redis; then PostgreSQL answers.' }),
  CACHE_TTL_SECONDS: integer(
    1,
    86_400,
  )({ default: 300, desc: 'Life of a cached conversation, give or take 10 %, until its writes show how often it changes.' }),
  CACHE_TTL_IN_FLIGHT_SECONDS: integer(
    1,
    86_400,
  )({ default: 60, desc: 'Life of a cached message that is PENDING or SENT; the shortest for a conversation.' }),
  CACHE_TTL_TERMINAL_SECONDS: integer(
    1,
    604_800,
  )({ default: 14_400, desc: 'Life of a cached message that is DELIVERED or FAILED; the longest for a conversation.' }),
  CACHE_TTL_NEGATIVE_SECONDS: integer(1, 86_400)({ default: 30, desc: 'Life of a cached "no such row".' }),
  CACHE_DOORKEEPER_SECONDS: integer(
    0,
    86_400,
  )({ default: 0, desc: 'Store a row only at its second miss within this time, when memory is scarce. 0: at the first.' }),
  CACHE_REFRESH_BETA: num({ default: 1, desc: 'Eagerness to load hot entries again before they expire. 0: never.' }),
  CACHE_WRITE_THROUGH: bool({ default: true, desc: 'A write puts the new row into the cache where readers have been asking for it.' }),
  CACHE_COMPRESS_FROM_BYTES: integer(64, 268_435_456)({ default: 4_096, desc: 'Payloads of this size or more are compressed (zstd).' }),
  CACHE_MAX_VALUE_BYTES: integer(1_024, 268_435_456)({ default: 262_144, desc: 'A larger entry, after compression, is not cached.' }),
  CACHE_LOCAL_BYTES: integer(
    0,
    17_179_869_184,
  )({ default: 67_108_864, desc: 'Memory of this process for answers to callers who accept old ones (max_staleness). 0: none.' }),
  CACHE_LOAD_CONCURRENCY: integer(
    1,
    500,
  )({ default: 4, desc: 'Statements at once for rows that the cache does not have, per entity; further reads wait and share one.' }),
  CACHE_VERIFY_RATIO: ratio({ default: 0.0001, desc: 'Share of hits that are compared with PostgreSQL, 0 to 1.' }),
  CACHE_KEY_PREFIX: str({ default: '', desc: 'Put before every Redis key, to share one Redis between deployments.' }),
  GRPC_HOST: str({ default: '0.0.0.0', desc: 'Address the gRPC port binds to.' }),
  GRPC_PORT: integer(0, 65_535)({ default: 50_051, desc: 'Port of gRPC, gRPC-Web and Connect. 0 picks a free one.' }),
  HTTP_HOST: str({ default: '0.0.0.0', desc: 'Address the HTTP port binds to.' }),
  HTTP_PORT: integer(0, 65_535)({ default: 8_080, desc: 'Port of /healthz, /readyz and /metrics. 0 picks a free one.' }),
  TLS_CERT_FILE: str({
    default: '',
    desc: 'PEM certificate chain. With TLS_KEY_FILE the gRPC port speaks TLS, otherwise cleartext HTTP/2.',
  }),
  TLS_KEY_FILE: str({ default: '', desc: 'PEM private key.' }),
  MAX_REQUEST_BYTES: integer(1_024, 268_435_456)({ default: 8_388_608, desc: 'Largest request message, after decompression.' }),
  MAX_RESPONSE_BYTES: integer(1_024, 268_435_456)({ default: 16_777_216, desc: 'Largest response message, before compression.' }),
  DEFAULT_DEADLINE_MS: integer(1, 3_600_000)({ default: 30_000, desc: 'Deadline of a unary call that brings none.' }),
  MAX_DEADLINE_MS: integer(1, 86_400_000)({ default: 3_600_000, desc: 'A longer deadline in a request is refused.' }),
  MAX_CONCURRENT_STREAMS: integer(1, 100_000)({ default: 1_000, desc: 'Calls at once on one HTTP/2 connection.' }),
  LEAN_LANE: bool({ default: true, desc: 'Answer plain unary gRPC calls past the generic pipeline, with the same answers at less cost.' }),
  SHUTDOWN_TIMEOUT_MS: integer(0, 600_000)({ default: 10_000, desc: 'Running calls are cut off this long after a stop signal.' }),
  SHUTDOWN_DELAY_MS: integer(0, 600_000)({ default: 0, desc: 'Keep serving this long after reporting NOT_SERVING, for load balancers.' }),
  SENDER_ADDRESSES: addressList({ default: [], desc: 'Addresses messages may be sent from, comma separated. Empty: any.' }),
  LOG_LEVEL: str({
    default: 'info',
    choices: ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
    desc: 'Least severe log line that is written.',
  }),
  OTEL_EXPORTER_OTLP_ENDPOINT: str({
    default: '',
    desc: 'Where traces go by OTLP. Empty: nowhere. The other standard OTEL_ variables count too.',
  }),
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: str({ default: '', desc: 'The same for traces alone.' }),
  TRACE_SAMPLE_RATIO: ratio({
    default: 1,
    desc: 'Share of traces started here that are recorded, 0 to 1. A sampled caller is always followed.',
  }),
} as const;

/** Every wrong variable at once, one line each; the values of secrets are never part of it. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

function read(environment: Readonly<Record<string, string | undefined>>) {
  const problems: string[] = [];
  const values = cleanEnv(environment, variables, {
    reporter: ({ errors }) => {
      for (const [name, error] of Object.entries(errors)) {
        const missing = error instanceof EnvMissingError;
        const { desc } = variables[name as keyof typeof variables];
        // A secret may have been pasted into the wrong variable.
        const message = (error?.message ?? '').replaceAll(environment[name] || '\n', '…');
        problems.push(`  ${name}: ${missing ? 'is not set' : message}. ${desc}`);
      }
    },
  });
  if ((values.TLS_CERT_FILE === '') !== (values.TLS_KEY_FILE === '')) {
    problems.push('  TLS_CERT_FILE, TLS_KEY_FILE: set both or neither.');
  }
  // As they were given: envalid throws when a variable that it has refused is asked for.
  const redis = [environment['REDIS_HOST'], environment['REDIS_SENTINELS'], environment['REDIS_CLUSTER_NODES']];
  if (redis.filter((value) => value?.trim()).length > 1)
    problems.push('  REDIS_HOST, REDIS_SENTINELS, REDIS_CLUSTER_NODES: set one of them.');
  if (problems.length > 0) {
    throw new ConfigError(`The configuration is wrong:\n${problems.join('\n')}\nREADME.md, Configuration, lists every variable.`);
  }
  return values;
}

type Values = ReturnType<typeof read>;

function topologyOf(values: Values) {
  const { REDIS_HOST: host, REDIS_PORT: redisPort, REDIS_SENTINELS: sentinels, REDIS_CLUSTER_NODES: nodes } = values;
  if (nodes.length > 0) return { kind: 'cluster', nodes } as const;
  const [masterName, sentinelPassword] = [values.REDIS_SENTINEL_MASTER, values.REDIS_SENTINEL_PASSWORD];
  if (sentinels.length > 0) return { kind: 'sentinel', sentinels, masterName, sentinelPassword } as const;
  return host === '' ? undefined : ({ kind: 'standalone', host, port: redisPort } as const);
}

function cacheOf(values: Values) {
  const topology = topologyOf(values);
  if (topology === undefined) return undefined;
  return {
    redis: {
      topology,
      db: values.REDIS_DB,
      password: values.REDIS_PASSWORD,
      tls: values.REDIS_TLS,
      commandTimeoutMs: values.REDIS_COMMAND_TIMEOUT_MS,
    },
    keyPrefix: values.CACHE_KEY_PREFIX,
    ttlMs: values.CACHE_TTL_SECONDS * 1_000,
    inFlightTtlMs: values.CACHE_TTL_IN_FLIGHT_SECONDS * 1_000,
    terminalTtlMs: values.CACHE_TTL_TERMINAL_SECONDS * 1_000,
    negativeTtlMs: values.CACHE_TTL_NEGATIVE_SECONDS * 1_000,
    doorkeeperMs: values.CACHE_DOORKEEPER_SECONDS * 1_000,
    refreshBeta: values.CACHE_REFRESH_BETA,
    writeThrough: values.CACHE_WRITE_THROUGH,
    compressFromBytes: values.CACHE_COMPRESS_FROM_BYTES,
    maxValueBytes: values.CACHE_MAX_VALUE_BYTES,
    localBytes: values.CACHE_LOCAL_BYTES,
    loadConcurrency: values.CACHE_LOAD_CONCURRENCY,
    verifyRatio: values.CACHE_VERIFY_RATIO,
  };
}

/** Throws ConfigError that names everything wrong. */
export function readConfig(environment: Readonly<Record<string, string | undefined>> = process.env) {
  const values = read(environment);
  return Object.freeze({
    database: {
      url: values.DATABASE_URL,
      poolMax: values.DATABASE_POOL_MAX,
      statementTimeoutMs: values.DATABASE_STATEMENT_TIMEOUT_MS,
      connectTimeoutMs: values.DATABASE_CONNECT_TIMEOUT_MS,
    },
    migrateOnStart: values.DATABASE_MIGRATE_ON_START,
    /** undefined: the cache is off. */
    cache: cacheOf(values),
    grpc: {
      host: values.GRPC_HOST,
      port: values.GRPC_PORT,
      tls: values.TLS_CERT_FILE === '' ? undefined : { certFile: values.TLS_CERT_FILE, keyFile: values.TLS_KEY_FILE },
      maxRequestBytes: values.MAX_REQUEST_BYTES,
      maxResponseBytes: values.MAX_RESPONSE_BYTES,
      defaultDeadlineMs: values.DEFAULT_DEADLINE_MS,
      maxDeadlineMs: values.MAX_DEADLINE_MS,
      maxConcurrentStreams: values.MAX_CONCURRENT_STREAMS,
      leanLane: values.LEAN_LANE,
    },
    http: { host: values.HTTP_HOST, port: values.HTTP_PORT },
    shutdown: { timeoutMs: values.SHUTDOWN_TIMEOUT_MS, delayMs: values.SHUTDOWN_DELAY_MS },
    senderAddresses: values.SENDER_ADDRESSES,
    logLevel: values.LOG_LEVEL,
    exportTraces: values.OTEL_EXPORTER_OTLP_ENDPOINT !== '' || values.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT !== '',
    traceSampleRatio: values.TRACE_SAMPLE_RATIO,
  });
}

export type Config = ReturnType<typeof readConfig>;
