/** The variables that the service reads: rule, default and meaning of each. */
import { bool, num, port, str } from 'envalid';
import {
  addressList,
  algorithmList,
  httpUrl,
  integer,
  keysUrl,
  optionalHttpUrl,
  optionalPostgresUrl,
  postgresUrl,
  rateList,
  ratio,
  roleList,
  secret,
  serverList,
  textList,
} from './config-rules.ts';

/** Every variable the service reads: its rule, its default and its meaning. README's table is tested against this. */
export const variables = {
  DATABASE_URL: postgresUrl({ desc: 'PostgreSQL connection string. Secret: holds the password.' }),
  DATABASE_MIGRATE_URL: optionalPostgresUrl({
    default: '',
    desc: 'The same for migrations, as the role that owns the tables; see deploy/postgres-roles.sql. Empty: DATABASE_URL. Secret.',
  }),
  DATABASE_POOL_MAX: integer(
    1,
    500,
  )({
    default: 10,
    desc: 'PostgreSQL connections of this process at most; one more for relaying invalidations, and in a worker up to 13 for the queue.',
  }),
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
  )({
    default: 67_108_864,
    desc: 'Memory of this process for answers to callers who accept old ones (max_staleness): so much for messages, so much for conversations. 0: none.',
  }),
  CACHE_LOAD_CONCURRENCY: integer(
    1,
    500,
  )({ default: 4, desc: 'Statements at once for rows that the cache does not have, per entity; further reads wait and share one.' }),
  CACHE_VERIFY_RATIO: ratio({ default: 0.0001, desc: 'Share of hits that are compared with PostgreSQL, 0 to 1.' }),
  CACHE_KEY_PREFIX: str({ default: '', desc: 'Put before every Redis key, to share one Redis between deployments.' }),
  GRPC_HOST: str({ default: '0.0.0.0', desc: 'Address the gRPC port binds to.' }),
  GRPC_PORT: integer(0, 65_535)({ default: 50_051, desc: 'Port of gRPC, gRPC-Web and Connect. 0 picks a free one.' }),
  GRPC_REUSE_PORT: bool({
    default: false,
    desc: 'Share the gRPC port with other processes that do so too: the kernel spreads connections over them. Linux. The HTTP port stays of one process: probes and metrics are about one.',
  }),
  HTTP_HOST: str({ default: '0.0.0.0', desc: 'Address the HTTP port binds to.' }),
  HTTP_PORT: integer(0, 65_535)({ default: 8_080, desc: 'Port of /healthz, /readyz, /metrics, /status and webhooks. 0 picks a free one.' }),
  STATUS_TOKEN: secret(16)({
    default: '',
    desc: 'Password of the status page, 16 characters or more, for user operator. Without it there is no page. Secret.',
  }),
  TLS_CERT_FILE: str({
    default: '',
    desc: 'PEM certificate chain. With TLS_KEY_FILE the gRPC port speaks TLS, otherwise cleartext HTTP/2.',
  }),
  TLS_KEY_FILE: str({ default: '', desc: 'PEM private key.' }),
  TLS_CLIENT_CA_FILE: str({
    default: '',
    desc: 'PEM certificates of the authorities whose client certificates name callers (mTLS).',
  }),
  AUTH_MODE: str({
    default: 'on',
    choices: ['on', 'off'],
    desc: 'off, for development alone: every caller may do everything. on: TLS_CLIENT_CA_FILE, AUTH_JWKS_URL or AUTH_JWKS_FILE has to be set.',
  }),
  AUTH_CERT_ROLES: roleList({
    default: [],
    desc: 'What callers with certificates may do: name=role, comma separated, of the roles caller, gateway and operator; * for names that are not in it.',
  }),
  AUTH_JWKS_URL: keysUrl({ default: '', desc: 'Where the public keys of bearer tokens are (JWKS); https, or http of this machine.' }),
  AUTH_JWKS_FILE: str({ default: '', desc: 'The same as a file, in place of AUTH_JWKS_URL.' }),
  AUTH_JWT_ISSUERS: textList({ default: [], desc: 'Issuers (iss) whose tokens are good, comma separated.' }),
  AUTH_JWT_AUDIENCES: textList({ default: [], desc: 'What tokens have to be for (aud), comma separated; one of them is enough.' }),
  AUTH_JWT_ALGORITHMS: algorithmList({
    default: ['RS256', 'PS256', 'ES256', 'EdDSA'],
    desc: 'Algorithms that tokens may be signed with, comma separated; asymmetric ones only.',
  }),
  AUTH_JWT_CALLER_CLAIM: str({ default: 'sub', desc: 'Claim that names the caller.' }),
  AUTH_JWT_ROLES_CLAIM: str({
    default: 'roles',
    desc: 'Claim with the roles of the caller: a list, or words; a.b for a claim within a claim.',
  }),
  AUTH_CLOCK_TOLERANCE_SECONDS: integer(0, 300)({ default: 10, desc: 'How far the clocks of token issuers may be off.' }),
  RATE_LIMITS: rateList({
    default: [],
    desc: 'Calls that each caller may make: method=calls/seconds, or caller@method=…, * for every method by itself. Shared by all processes through Redis.',
  }),
  MAX_REQUEST_BYTES: integer(1_024, 268_435_456)({ default: 8_388_608, desc: 'Largest request message, after decompression.' }),
  MAX_RESPONSE_BYTES: integer(1_024, 268_435_456)({ default: 16_777_216, desc: 'Largest response message, before compression.' }),
  DEFAULT_DEADLINE_MS: integer(1, 3_600_000)({ default: 30_000, desc: 'Deadline of a unary call that brings none.' }),
  MAX_DEADLINE_MS: integer(1, 86_400_000)({ default: 3_600_000, desc: 'A longer deadline in a request is refused.' }),
  MAX_CONCURRENT_STREAMS: integer(1, 100_000)({ default: 1_000, desc: 'Calls at once on one HTTP/2 connection.' }),
  MAX_CONNECTIONS: integer(
    8,
    1_000_000,
  )({
    default: 4_096,
    desc: 'Connections to the gRPC port; a sixteenth of them for peers that have not called yet. Then the one that is idle for longest is closed.',
  }),
  MAX_CONNECTIONS_PER_ADDRESS: integer(1, 1_000_000)({ default: 1_024, desc: 'The same from one address; more are refused.' }),
  REQUEST_TIMEOUT_MS: integer(1, 3_600_000)({ default: 10_000, desc: 'Longest time for a request to arrive whole.' }),
  LEAN_LANE: bool({
    default: true,
    desc: 'Answer plain gRPC calls with one request past the generic pipeline, with the same answers at less cost.',
  }),
  SHUTDOWN_TIMEOUT_MS: integer(0, 600_000)({ default: 10_000, desc: 'Running calls are cut off this long after a stop signal.' }),
  SHUTDOWN_DELAY_MS: integer(0, 600_000)({ default: 0, desc: 'Keep serving this long after reporting NOT_SERVING, for load balancers.' }),
  PROCESS_ROLE: str({
    default: 'all',
    choices: ['all', 'server', 'worker'],
    desc: 'What this process does. server: answers calls and webhooks. worker: hands messages to providers. all: both.',
  }),
  TWILIO_ACCOUNT_SID: str({ default: '', desc: 'Twilio account, AC and 32 digits. Without it SMS and MMS wait until a worker has one.' }),
  TWILIO_AUTH_TOKEN: str({ default: '', desc: 'Token of that account; also checks the signatures of its webhooks. Secret.' }),
  TWILIO_AUTH_TOKEN_SECONDARY: str({
    default: '',
    desc: 'While the token is being changed: the other one, good for signatures only. Secret.',
  }),
  TWILIO_API_URL: httpUrl({ default: 'https://api.twilio.com', desc: 'Where the API of Twilio is.' }),
  TWILIO_MAX_CONCURRENT: integer(1, 1_000)({ default: 20, desc: 'Requests of this process to Twilio at once.' }),
  TWILIO_MAX_PER_SECOND: integer(1, 100_000)({ default: 100, desc: 'Requests of this process to Twilio per second.' }),
  SENDGRID_API_KEY: str({ default: '', desc: 'SendGrid API key. Without it email waits until a worker has one. Secret.' }),
  SENDGRID_WEBHOOK_KEYS: addressList({
    default: [],
    desc: 'Public keys of SendGrid webhooks (base64), comma separated; two while they are being changed. None: they are answered 503.',
  }),
  SENDGRID_API_URL: httpUrl({ default: 'https://api.sendgrid.com', desc: 'Where the API of SendGrid is.' }),
  SENDGRID_MAX_CONCURRENT: integer(1, 1_000)({ default: 20, desc: 'Requests of this process to SendGrid at once.' }),
  SENDGRID_MAX_PER_SECOND: integer(1, 100_000)({ default: 100, desc: 'Requests of this process to SendGrid per second.' }),
  PROVIDER_TIMEOUT_MS: integer(100, 120_000)({ default: 10_000, desc: 'Longest wait for an answer of a provider.' }),
  PUBLIC_URL: optionalHttpUrl({
    default: '',
    desc: 'The HTTP port as providers reach it, such as https://messages.example.com. Without it Twilio sends no reports and its webhooks are answered 503.',
  }),
  WEBHOOK_MAX_BYTES: integer(1_024, 268_435_456)({ default: 33_554_432, desc: 'Largest body of a webhook request.' }),
  DISPATCH_MAX_ATTEMPTS: integer(1, 100)({ default: 12, desc: 'Refusals that may pass by themselves before a message is given up.' }),
  DISPATCH_RETRY_BASE_MS: integer(
    1,
    3_600_000,
  )({
    default: 5_000,
    desc: 'Wait after the first of them; doubles with each, give or take half, up to DISPATCH_RETRY_MAX_MS.',
  }),
  DISPATCH_RETRY_MAX_MS: integer(1, 86_400_000)({ default: 900_000, desc: 'Longest wait between two attempts.' }),
  DISPATCH_CALLBACK_WAIT_MS: integer(
    100,
    3_600_000,
  )({
    default: 30_000,
    desc: 'After an answer was lost: how long to wait for a report before the provider is asked.',
  }),
  DISPATCH_UNKNOWN_WINDOW_MS: integer(
    100,
    86_400_000,
  )({
    default: 600_000,
    desc: 'After an answer was lost: when to give up finding out, with the message FAILED as OUTCOME_UNKNOWN.',
  }),
  DISPATCH_WORKER_LOST_MS: integer(
    500,
    3_600_000,
  )({
    default: 10_000,
    desc: 'A process that has not been seen for this long is gone: others take its jobs over.',
  }),
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

const isSecret = (name: keyof typeof variables): boolean => /\bSecret\b/.test(variables[name].desc ?? '');

const isServer = (item: unknown): item is { readonly host: string; readonly port: number } =>
  typeof item === 'object' && item !== null && 'host' in item && 'port' in item;

/**
 * What may be shown of a value to operators. Of what calls itself secret only that it is set; of a list, such as of addresses, only how
 * many it has, unless it is of servers.
 */
export function shownValue(name: keyof typeof variables, value: unknown): string {
  if (value === '' || value === undefined) return '';
  if (isSecret(name)) return 'set';
  if (Array.isArray(value)) {
    return value.every(isServer) ? value.map((server) => `${server.host}:${server.port}`).join(', ') : `${value.length} set`;
  }
  return typeof value === 'object' ? 'set' : String(value);
}
