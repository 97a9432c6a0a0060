/** Environment -> one frozen, typed Config. The only reader of process.env. */
import { cleanEnv, EnvMissingError } from 'envalid';
import { shownValue, variables } from './config-variables.ts';

/** Every wrong variable at once, one line each; the values of secrets are never part of it. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** Where several processes may listen on one port, as far as Node knows. */
const SHARES_PORTS: readonly NodeJS.Platform[] = ['linux', 'freebsd', 'sunos', 'aix'];

const NO_IDENTITY =
  'AUTH_MODE: nothing says who may call. Set TLS_CLIENT_CA_FILE for client certificates, AUTH_JWKS_URL or AUTH_JWKS_FILE for bearer tokens; or AUTH_MODE=off, for development alone.';

type AuthValues = Readonly<Record<'TLS_CERT_FILE' | 'TLS_CLIENT_CA_FILE', string>> & { readonly PROCESS_ROLE: string };

/** What is wrong between the variables that say who may call; a worker is not called. */
function authProblems(values: AuthValues, environment: Readonly<Record<string, string | undefined>>): readonly string[] {
  // As they were given: envalid throws when a variable that it has refused is asked for.
  const given = (name: keyof typeof variables): boolean => Boolean(environment[name]?.trim());
  const keys = (['AUTH_JWKS_URL', 'AUTH_JWKS_FILE'] as const).filter(given);
  const ways = [...(given('TLS_CLIENT_CA_FILE') ? ['TLS_CLIENT_CA_FILE'] : []), ...keys];
  const problems: string[] = [];
  if (environment['AUTH_MODE'] === 'off' && ways.length > 0) problems.push(`AUTH_MODE: is off although ${ways.join(' and ')} is set.`);
  if (!given('AUTH_MODE') || environment['AUTH_MODE'] === 'on') {
    if (ways.length === 0 && environment['PROCESS_ROLE'] !== 'worker') problems.push(NO_IDENTITY);
  }
  if (keys.length > 1) problems.push('AUTH_JWKS_URL, AUTH_JWKS_FILE: set one of them.');
  if (keys.length > 0 && !(given('AUTH_JWT_ISSUERS') && given('AUTH_JWT_AUDIENCES'))) {
    problems.push('AUTH_JWT_ISSUERS, AUTH_JWT_AUDIENCES: set both, so that tokens for others are not good here.');
  }
  if (values.TLS_CLIENT_CA_FILE !== '' && values.TLS_CERT_FILE === '') {
    problems.push('TLS_CLIENT_CA_FILE: certificates are shown over TLS; set TLS_CERT_FILE and TLS_KEY_FILE.');
  }
  return problems;
}

function read(environment: Readonly<Record<string, string | undefined>>, platform: NodeJS.Platform) {
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
  problems.push(...authProblems(values, environment).map((problem) => `  ${problem}`));
  if ((values.TWILIO_ACCOUNT_SID === '') !== (values.TWILIO_AUTH_TOKEN === '')) {
    problems.push('  TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN: set both or neither.');
  }
  // As they were given: envalid throws when a variable that it has refused is asked for.
  const redis = [environment['REDIS_HOST'], environment['REDIS_SENTINELS'], environment['REDIS_CLUSTER_NODES']];
  if (redis.filter((value) => value?.trim()).length > 1)
    problems.push('  REDIS_HOST, REDIS_SENTINELS, REDIS_CLUSTER_NODES: set one of them.');
  if (values.GRPC_REUSE_PORT && !SHARES_PORTS.includes(platform)) {
    problems.push(`  GRPC_REUSE_PORT: processes cannot share a port on ${platform}; only on ${SHARES_PORTS.join(', ')}.`);
  }
  if (problems.length > 0) {
    throw new ConfigError(`The configuration is wrong:\n${problems.join('\n')}\nREADME.md, Configuration, lists every variable.`);
  }
  return values;
}

type Values = ReturnType<typeof read>;

const migrationUrlOf = (values: Values): string => values.DATABASE_MIGRATE_URL || values.DATABASE_URL;

function databaseOf(values: Values) {
  return {
    url: values.DATABASE_URL,
    poolMax: values.DATABASE_POOL_MAX,
    statementTimeoutMs: values.DATABASE_STATEMENT_TIMEOUT_MS,
    connectTimeoutMs: values.DATABASE_CONNECT_TIMEOUT_MS,
  };
}

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

/** undefined: every caller may do everything. */
function authOf(values: Values) {
  if (values.AUTH_MODE === 'off') return undefined;
  const keys = values.AUTH_JWKS_URL === '' ? { file: values.AUTH_JWKS_FILE } : { url: values.AUTH_JWKS_URL };
  return {
    /** undefined: certificates name nobody. */
    certificates: values.TLS_CLIENT_CA_FILE === '' ? undefined : { roles: values.AUTH_CERT_ROLES },
    /** undefined: tokens are not looked at. */
    tokens:
      values.AUTH_JWKS_URL === '' && values.AUTH_JWKS_FILE === ''
        ? undefined
        : {
            keys,
            issuers: values.AUTH_JWT_ISSUERS,
            audiences: values.AUTH_JWT_AUDIENCES,
            algorithms: values.AUTH_JWT_ALGORITHMS,
            callerClaim: values.AUTH_JWT_CALLER_CLAIM,
            rolesClaim: values.AUTH_JWT_ROLES_CLAIM,
            toleranceMs: values.AUTH_CLOCK_TOLERANCE_SECONDS * 1_000,
          },
  };
}

function tlsOf(values: Values) {
  const { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile, TLS_CLIENT_CA_FILE: clientCaFile } = values;
  return certFile === '' ? undefined : { certFile, keyFile, clientCaFile: clientCaFile === '' ? undefined : clientCaFile };
}

/** Every variable as operators may see it. */
function settingsOf(values: Values, environment: Readonly<Record<string, string | undefined>>) {
  return (Object.keys(variables) as (keyof typeof variables)[]).map((name) => ({
    name,
    value: shownValue(name, values[name]),
    isSet: Boolean(environment[name]),
  }));
}

const CALL_MARGIN_MS = 5_000;

const limitsOf = (maxConcurrent: number, maxPerSecond: number, timeoutMs: number) => ({ maxConcurrent, maxPerSecond, timeoutMs });

/** Throws ConfigError that names everything wrong. */
export function readConfig(environment: Readonly<Record<string, string | undefined>> = process.env, platform = process.platform) {
  const values = read(environment, platform);
  return Object.freeze({
    database: databaseOf(values),
    migrationUrl: migrationUrlOf(values),
    migrateOnStart: values.DATABASE_MIGRATE_ON_START,
    /** undefined: the cache is off. */
    cache: cacheOf(values),
    grpc: {
      host: values.GRPC_HOST,
      port: values.GRPC_PORT,
      reusePort: values.GRPC_REUSE_PORT,
      tls: tlsOf(values),
      maxRequestBytes: values.MAX_REQUEST_BYTES,
      maxResponseBytes: values.MAX_RESPONSE_BYTES,
      defaultDeadlineMs: values.DEFAULT_DEADLINE_MS,
      maxDeadlineMs: values.MAX_DEADLINE_MS,
      maxConcurrentStreams: values.MAX_CONCURRENT_STREAMS,
      maxConnections: values.MAX_CONNECTIONS,
      maxConnectionsPerAddress: values.MAX_CONNECTIONS_PER_ADDRESS,
      requestTimeoutMs: values.REQUEST_TIMEOUT_MS,
      leanLane: values.LEAN_LANE,
    },
    auth: authOf(values),
    /** Empty: none. */
    rateLimits: values.RATE_LIMITS,
    http: { host: values.HTTP_HOST, port: values.HTTP_PORT },
    /** undefined: no status page. */
    status: values.STATUS_TOKEN === '' ? undefined : { token: values.STATUS_TOKEN },
    role: values.PROCESS_ROLE as 'all' | 'server' | 'worker',
    providers: {
      /** undefined: no credentials. */
      twilio:
        values.TWILIO_ACCOUNT_SID === ''
          ? undefined
          : {
              accountSid: values.TWILIO_ACCOUNT_SID,
              authToken: values.TWILIO_AUTH_TOKEN,
              apiUrl: values.TWILIO_API_URL,
              publicUrl: values.PUBLIC_URL,
              limits: limitsOf(values.TWILIO_MAX_CONCURRENT, values.TWILIO_MAX_PER_SECOND, values.PROVIDER_TIMEOUT_MS),
            },
      sendgrid:
        values.SENDGRID_API_KEY === ''
          ? undefined
          : {
              apiKey: values.SENDGRID_API_KEY,
              apiUrl: values.SENDGRID_API_URL,
              limits: limitsOf(values.SENDGRID_MAX_CONCURRENT, values.SENDGRID_MAX_PER_SECOND, values.PROVIDER_TIMEOUT_MS),
            },
    },
    webhooks: {
      publicUrl: values.PUBLIC_URL,
      maxBytes: values.WEBHOOK_MAX_BYTES,
      twilioAuthTokens: [values.TWILIO_AUTH_TOKEN, values.TWILIO_AUTH_TOKEN_SECONDARY].filter((token) => token !== ''),
      sendgridPublicKeys: values.SENDGRID_WEBHOOK_KEYS,
    },
    dispatch: {
      maxAttempts: values.DISPATCH_MAX_ATTEMPTS,
      retryBaseMs: values.DISPATCH_RETRY_BASE_MS,
      retryMaxMs: values.DISPATCH_RETRY_MAX_MS,
      /** After this a process that asked a provider, and is still there, has its answer or its time-out. */
      callMs: values.PROVIDER_TIMEOUT_MS + CALL_MARGIN_MS,
      callbackWaitMs: values.DISPATCH_CALLBACK_WAIT_MS,
      unknownWindowMs: values.DISPATCH_UNKNOWN_WINDOW_MS,
      workerLostMs: values.DISPATCH_WORKER_LOST_MS,
    },
    shutdown: { timeoutMs: values.SHUTDOWN_TIMEOUT_MS, delayMs: values.SHUTDOWN_DELAY_MS },
    settings: settingsOf(values, environment),
    senderAddresses: values.SENDER_ADDRESSES,
    logLevel: values.LOG_LEVEL,
    exportTraces: values.OTEL_EXPORTER_OTLP_ENDPOINT !== '' || values.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT !== '',
    traceSampleRatio: values.TRACE_SAMPLE_RATIO,
  });
}

/** Of the database, as migrations connect to it: nobody calls them, so it need not be said who may. Throws ConfigError. */
export function readMigrationConfig(environment: Readonly<Record<string, string | undefined>> = process.env) {
  const own = Object.fromEntries(Object.entries(environment).filter(([name]) => name.startsWith('DATABASE_')));
  const values = read({ ...own, PROCESS_ROLE: 'worker' }, process.platform);
  return Object.freeze({ ...databaseOf(values), url: migrationUrlOf(values) });
}

export type Config = ReturnType<typeof readConfig>;
