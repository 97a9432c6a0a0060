/** Settings that are allowed and that somebody may regret. */
import type { Config } from '../config.ts';

export interface Risk {
  readonly variable: string;
  readonly risk: string;
}

interface Rule extends Risk {
  readonly applies: (config: Config) => boolean;
}

const LOCAL = /^(localhost|127\.|\[?::1\]?|\/)/;
const answersCalls = ({ role }: Config): boolean => role !== 'worker';
const handsOut = ({ role }: Config): boolean => role !== 'server';
const databaseHost = ({ database }: Config): string => new URL(database.url).hostname;
const redisIsRemote = ({ cache }: Config): boolean =>
  cache !== undefined && !(cache.redis.topology.kind === 'standalone' && LOCAL.test(cache.redis.topology.host));

const RULES: readonly Rule[] = [
  {
    variable: 'AUTH_MODE',
    applies: (config) => answersCalls(config) && config.auth === undefined,
    risk: 'off: whoever reaches the port may do everything, in no name',
  },
  {
    variable: 'AUTH_CERT_ROLES',
    applies: ({ auth }) => auth?.certificates?.roles.some(({ name, role }) => name === '*' && role !== 'caller') === true,
    risk: '*: every certificate of the authority may do what operators or gateways may',
  },
  {
    variable: 'RATE_LIMITS',
    applies: (config) => answersCalls(config) && config.rateLimits.length === 0,
    risk: 'none: one caller in a loop takes the service from the others',
  },
  {
    variable: 'TLS_CERT_FILE',
    applies: (config) => answersCalls(config) && config.grpc.tls === undefined,
    risk: 'calls come in cleartext: whoever can listen on the network reads every message',
  },
  {
    variable: 'DATABASE_URL',
    applies: (config) => !LOCAL.test(databaseHost(config)) && !/[?&]sslmode=(require|verify-ca|verify-full)/.test(config.database.url),
    risk: 'no sslmode=verify-full: password and messages go to PostgreSQL in cleartext',
  },
  {
    variable: 'DATABASE_URL',
    applies: ({ database }) => new URL(database.url).username === 'postgres',
    risk: 'the user is the superuser: an error in this service could do anything to the database',
  },
  {
    variable: 'DATABASE_MIGRATE_ON_START',
    applies: ({ migrateOnStart }) => migrateOnStart,
    risk: 'a process that serves may change the schema; run migrations by themselves, as a role of their own',
  },
  {
    variable: 'DATABASE_STATEMENT_TIMEOUT_MS',
    applies: (config) => answersCalls(config) && config.database.statementTimeoutMs > config.grpc.defaultDeadlineMs,
    risk: 'longer than DEFAULT_DEADLINE_MS: statements go on after their call was given up',
  },
  {
    variable: 'REDIS_HOST',
    applies: (config) => answersCalls(config) && config.cache === undefined,
    risk: 'no Redis: every read goes to PostgreSQL',
  },
  {
    variable: 'REDIS_PASSWORD',
    applies: (config) => redisIsRemote(config) && config.cache?.redis.password === '',
    risk: 'Redis asks for no password: whoever reaches it reads the cached messages',
  },
  {
    variable: 'REDIS_TLS',
    applies: (config) => redisIsRemote(config) && config.cache?.redis.tls === false,
    risk: 'cached messages go to Redis in cleartext',
  },
  {
    variable: 'CACHE_VERIFY_RATIO',
    applies: ({ cache }) => cache?.verifyRatio === 0,
    risk: 'no hit is compared with PostgreSQL: a stale answer would be noticed by nobody',
  },
  {
    variable: 'CACHE_LOAD_CONCURRENCY',
    applies: ({ cache, database }) => cache !== undefined && 2 * cache.loadConcurrency >= database.poolMax,
    risk: 'misses of both entities can take all of DATABASE_POOL_MAX, and writes wait for them',
  },
  {
    variable: 'TWILIO_ACCOUNT_SID',
    applies: (config) => handsOut(config) && config.providers.twilio === undefined,
    risk: 'no credentials: SMS and MMS wait, and expire, unless another worker has some',
  },
  {
    variable: 'SENDGRID_API_KEY',
    applies: (config) => handsOut(config) && config.providers.sendgrid === undefined,
    risk: 'no credentials: email waits, and expires, unless another worker has some',
  },
  {
    variable: 'PUBLIC_URL',
    applies: ({ webhooks }) => webhooks.publicUrl === '',
    risk: 'not set: Twilio sends no reports, and its webhooks are answered 503',
  },
  {
    variable: 'PUBLIC_URL',
    applies: ({ webhooks }) => webhooks.publicUrl.startsWith('http:'),
    risk: 'reports and inbound messages come in cleartext',
  },
  {
    variable: 'SENDGRID_WEBHOOK_KEYS',
    applies: (config) => answersCalls(config) && config.webhooks.sendgridPublicKeys.length === 0,
    risk: 'none: webhooks of SendGrid are answered 503, so delivery of email is never known',
  },
  {
    variable: 'SENDER_ADDRESSES',
    applies: (config) => answersCalls(config) && config.senderAddresses.length === 0,
    risk: 'empty: callers may send from any address',
  },
  {
    variable: 'DISPATCH_UNKNOWN_WINDOW_MS',
    applies: ({ dispatch }) => dispatch.unknownWindowMs <= dispatch.callbackWaitMs,
    risk: 'not longer than DISPATCH_CALLBACK_WAIT_MS: an outcome is given up before the provider was asked',
  },
  {
    variable: 'DISPATCH_RETRY_MAX_MS',
    applies: ({ dispatch }) => dispatch.retryMaxMs < dispatch.retryBaseMs,
    risk: 'shorter than DISPATCH_RETRY_BASE_MS: every wait is this one',
  },
  {
    variable: 'SHUTDOWN_DELAY_MS',
    applies: (config) => answersCalls(config) && config.shutdown.delayMs === 0,
    risk: '0: behind a load balancer, calls are refused between the stop and the moment it notices',
  },
  {
    variable: 'SHUTDOWN_TIMEOUT_MS',
    applies: ({ shutdown }) => shutdown.timeoutMs < 1_000,
    risk: 'running calls are cut off at once when the process is stopped',
  },
  {
    variable: 'LOG_LEVEL',
    applies: ({ logLevel }) => ['silent', 'fatal'].includes(logLevel),
    risk: 'errors are not logged',
  },
  {
    variable: 'LOG_LEVEL',
    applies: ({ logLevel }) => ['debug', 'trace'].includes(logLevel),
    risk: 'a line for every cache operation: costs more than answering the call',
  },
  {
    variable: 'TRACE_SAMPLE_RATIO',
    applies: ({ exportTraces, traceSampleRatio }) => exportTraces && traceSampleRatio === 1,
    risk: '1: every call is traced, which costs more than a cached answer',
  },
];

export const risksOf = (config: Config): readonly Risk[] =>
  RULES.flatMap(({ applies, variable, risk }) => (applies(config) ? [{ variable, risk }] : []));
