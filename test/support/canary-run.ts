/** A run of the service with secrets everywhere a caller or an operator can put them, and a witness of all it says. */
import { type Client, ConnectError, createClient, type Interceptor } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { Redis } from 'ioredis';
import pg from 'pg';
import { CacheService } from '../../gen/messaging/v1/cache_service_pb.js';
import { ConversationService, type WatchConversationsResponse } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageType, Provider } from '../../gen/messaging/v1/message_pb.js';
import { MessageService, type WatchMessagesResponse } from '../../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { SuppressionService } from '../../gen/messaging/v1/suppression_service_pb.js';
import { createTestAuthority } from './certificate-files.ts';
import { type OtlpReceiver, startOtlpReceiver } from './otlp-receiver.ts';
import { type ServiceProcess, startService } from './processes.ts';
import { type OwnPostgres, type OwnServer, startOwnPostgres, startOwnRedis } from './servers.ts';
import { authToken, newSigningKey, publicUrl, type SigningKey } from './signed-webhooks.ts';
import { createIssuer, startKeyServer } from './token-issuer.ts';

/** By what they stand for; no other text of the run holds them. */
export const canaries = {
  body: 'canarybody7f3a',
  subject: 'canarysubject7f3a',
  html: 'canaryhtml7f3a',
  title: 'canarytitle7f3a',
  metaKey: 'canarykey7f3a',
  metaValue: 'canaryvalue7f3a',
  filename: 'canaryfile7f3a',
  ourPhone: '4155550147',
  theirPhone: '4155550148',
  ourEmail: 'canaryours7f3a',
  theirEmail: 'canarytheirs7f3a',
  replyTo: 'canaryreply7f3a',
  wrongAddress: 'canarywrong7f3a',
  pageToken: 'canarypage7f3a',
  statusToken: 'canarystatustoken7f3a',
  cookie: 'canarycookie7f3a',
  baggage: 'canarybaggage7f3a',
  providerText: 'canaryprovider7f3a',
  query: 'canaryquery7f3a',
  redisPassword: 'canaryredis7f3a',
  databasePassword: 'canarydatabase7f3a',
  twilioToken: authToken,
} as const;

export const [ourPhone, theirPhone] = [`+1${canaries.ourPhone}`, `+1${canaries.theirPhone}`];
export const [ourEmail, theirEmail] = [`${canaries.ourEmail}@example.com`, `${canaries.theirEmail}@example.com`];
export const metaData = { [canaries.metaKey]: [canaries.metaValue] };

/** A message as people send it. */
export const sms = { fromAddress: ourPhone, toAddress: theirPhone, messageType: MessageType.SMS, body: canaries.body, metaData };
export const email = {
  fromAddress: ourEmail,
  toAddress: theirEmail,
  messageType: MessageType.EMAIL,
  body: canaries.body,
  email: { subject: canaries.subject, htmlBody: canaries.html, replyTo: `${canaries.replyTo}@example.com` },
  attachments: [{ url: `https://example.com/${canaries.filename}`, filename: canaries.filename, contentType: 'text/plain', sizeBytes: 1n }],
};
export const received = { provider: Provider.TWILIO, messageType: MessageType.SMS, fromAddress: theirPhone, toAddress: ourPhone, metaData };

const services = [MessageService, ConversationService, ProviderEventService, SuppressionService, CacheService];
/** Every method of the contract, as `called` spells it. */
export const allMethods = services.flatMap(({ typeName, methods }) => methods.map(({ name }) => `${typeName}/${name}`));

export async function drain(answers: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of answers);
}

/** Everything that is there already. */
export async function drainInitial(answers: AsyncIterable<WatchMessagesResponse | WatchConversationsResponse>): Promise<void> {
  for await (const { payload } of answers) if (payload.case === 'progress' && payload.value.initialStateComplete) break;
}

export interface CanaryRun extends AsyncDisposable {
  readonly url: string;
  /** Whom clients trust. */
  readonly ca: string;
  /** Of the caller that may do everything, and others that let nobody in. */
  readonly tokens: { readonly good: string; readonly bad: readonly string[] };
  /** What SendGrid signs with. */
  readonly signingKey: SigningKey;
  readonly service: ServiceProcess;
  readonly postgres: OwnPostgres;
  readonly redis: OwnServer;
  readonly otlp: OtlpReceiver;
  readonly messages: Client<typeof MessageService>;
  readonly conversations: Client<typeof ConversationService>;
  readonly providerEvents: Client<typeof ProviderEventService>;
  readonly suppressions: Client<typeof SuppressionService>;
  readonly cache: Client<typeof CacheService>;
  /** Every error so far, with all it says. */
  readonly errors: readonly { readonly where: string; readonly text: string }[];
  readonly called: ReadonlySet<string>;
  /** What `text` holds of the canaries and tokens, by name. */
  secretsIn(text: string): readonly string[];
  /** Runs a statement as somebody else than the service. */
  administer(statement: string): Promise<void>;
  asRedisAdmin<T>(work: (admin: Redis) => Promise<T>): Promise<T>;
}

/** A fault that is injected may make a call wait; it is an error like others here, and not the end of the run. */
const DEADLINE_MS = 20_000;

const textOf = (detail: ConnectError['details'][number]): string =>
  'type' in detail && detail.value instanceof Uint8Array ? Buffer.from(detail.value).toString('latin1') : JSON.stringify(detail);

export async function startCanaryRun(): Promise<CanaryRun> {
  await using opening = new AsyncDisposableStack();
  const errors: { where: string; text: string }[] = [];
  const called = new Set<string>();
  const postgres = opening.use(await startOwnPostgres());
  const redis = opening.use(await startOwnRedis(['--requirepass', canaries.redisPassword]));
  const otlp = opening.use(await startOtlpReceiver());

  async function administer(statement: string): Promise<void> {
    const client = new pg.Client({ connectionString: postgres.url });
    await client.connect();
    await client.query(statement);
    await client.end();
  }

  const authority = opening.use(await createTestAuthority());
  const issuer = await createIssuer();
  const keyServer = opening.use(await startKeyServer(() => issuer.keys()));
  const roles = ['caller', 'gateway', 'operator'];
  const claims = { sub: 'shop', roles };
  const good = await issuer.token(claims);
  const bad = await Promise.all([
    issuer.token({ ...claims, aud: 'nobody' }),
    issuer.token({ ...claims, exp: 1 }),
    issuer.token({ ...claims, roles: [] }),
    createIssuer().then((other) => other.token(claims)),
  ]);

  await administer(`create role app login superuser password '${canaries.databasePassword}'`);
  const databaseUrl = Object.assign(new URL(postgres.url), { username: 'app', password: canaries.databasePassword });
  const signingKey = newSigningKey();
  const service = opening.use(
    await startService({
      PROCESS_ROLE: 'server',
      ...authority.env,
      AUTH_MODE: 'on',
      AUTH_CERT_ROLES: roles.map((role) => `edge=${role}`).join(),
      AUTH_JWKS_URL: keyServer.url,
      AUTH_JWT_ISSUERS: issuer.name,
      AUTH_JWT_AUDIENCES: issuer.audience,
      PUBLIC_URL: publicUrl,
      TWILIO_ACCOUNT_SID: `AC${'0'.repeat(32)}`,
      TWILIO_AUTH_TOKEN: authToken,
      SENDGRID_WEBHOOK_KEYS: signingKey.publicKey,
      DATABASE_URL: databaseUrl.href,
      DATABASE_CONNECT_TIMEOUT_MS: '2000',
      REDIS_HOST: redis.host,
      REDIS_PORT: String(redis.port),
      REDIS_PASSWORD: canaries.redisPassword,
      STATUS_TOKEN: canaries.statusToken,
      LOG_LEVEL: 'debug',
      OTEL_EXPORTER_OTLP_ENDPOINT: otlp.endpoint,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_BSP_SCHEDULE_DELAY: '20',
    }),
  );

  const witness: Interceptor = (next) => async (request) => {
    const rpc = `${request.service.typeName}/${request.method.name}`;
    called.add(rpc);
    request.header.set('cookie', `session=${canaries.cookie}`);
    request.header.set('baggage', `who=${canaries.baggage}`);
    try {
      return await next(request);
    } catch (error) {
      const { rawMessage, details, metadata } = ConnectError.from(error);
      errors.push({ where: `an error of ${rpc}`, text: [rawMessage, ...details.map(textOf), JSON.stringify([...metadata])].join('\n') });
      throw error;
    }
  };
  const withToken: Interceptor = (next) => (request) => {
    // Whoever calls with a token of its own keeps it.
    if (!request.header.has('authorization')) request.header.set('authorization', `Bearer ${good}`);
    return next(request);
  };
  const url = `https://localhost:${service.grpcPort}`;
  const ca = authority.ca;
  const options = { baseUrl: url, defaultTimeoutMs: DEADLINE_MS };
  const byToken = createGrpcTransport({ ...options, nodeOptions: { ca }, interceptors: [witness, withToken] });
  const pair = await authority.issue({ cn: 'edge' });
  const byCertificate = createGrpcTransport({ ...options, nodeOptions: { ca, ...pair }, interceptors: [witness] });
  // The first part of a token says only how it is signed.
  const tokenParts = [good, ...bad].flatMap((token) => token.split('.').slice(1));
  const opened = opening.move();
  return {
    url,
    ca,
    tokens: { good, bad },
    signingKey,
    service,
    postgres,
    redis,
    otlp,
    messages: createClient(MessageService, byToken),
    conversations: createClient(ConversationService, byToken),
    providerEvents: createClient(ProviderEventService, byCertificate),
    suppressions: createClient(SuppressionService, byToken),
    cache: createClient(CacheService, byCertificate),
    errors,
    called,
    secretsIn: (text) => [
      ...Object.entries(canaries).flatMap(([name, canary]) => (text.toLowerCase().includes(canary) ? [name] : [])),
      ...tokenParts.filter((part) => text.includes(part)),
    ],
    administer,
    async asRedisAdmin(work) {
      const admin = new Redis({ host: redis.host, port: redis.port, password: canaries.redisPassword });
      try {
        return await work(admin);
      } finally {
        admin.disconnect();
      }
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}
