/** A run of the service with secrets everywhere a caller or an operator can put them, and a witness of all it says. */
import { type Client, ConnectError, createClient, type Interceptor } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { Redis } from 'ioredis';
import pg from 'pg';
import { CacheService } from '../../gen/messaging/v1/cache_service_pb.js';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageType, Provider } from '../../gen/messaging/v1/message_pb.js';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { SuppressionService } from '../../gen/messaging/v1/suppression_service_pb.js';
import { type OtlpReceiver, startOtlpReceiver } from './otlp-receiver.ts';
import { type ServiceProcess, startService } from './processes.ts';
import { type OwnPostgres, type OwnServer, startOwnPostgres, startOwnRedis } from './servers.ts';
import { authToken, newSigningKey, publicUrl, type SigningKey } from './signed-webhooks.ts';

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
  bearer: 'canarybearer7f3a',
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

export interface CanaryRun extends AsyncDisposable {
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
  /** Runs a statement as somebody else than the service. */
  administer(statement: string): Promise<void>;
  asRedisAdmin<T>(work: (admin: Redis) => Promise<T>): Promise<T>;
}

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

  await administer(`create role app login superuser password '${canaries.databasePassword}'`);
  const url = Object.assign(new URL(postgres.url), { username: 'app', password: canaries.databasePassword });
  const signingKey = newSigningKey();
  const service = opening.use(
    await startService({
      PROCESS_ROLE: 'server',
      PUBLIC_URL: publicUrl,
      TWILIO_ACCOUNT_SID: `AC${'0'.repeat(32)}`,
      TWILIO_AUTH_TOKEN: authToken,
      SENDGRID_WEBHOOK_KEYS: signingKey.publicKey,
      DATABASE_URL: url.href,
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
    request.header.set('authorization', `Bearer ${canaries.bearer}`);
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
  const transport = createGrpcTransport({ baseUrl: `http://127.0.0.1:${service.grpcPort}`, interceptors: [witness] });
  const opened = opening.move();
  return {
    signingKey,
    service,
    postgres,
    redis,
    otlp,
    messages: createClient(MessageService, transport),
    conversations: createClient(ConversationService, transport),
    providerEvents: createClient(ProviderEventService, transport),
    suppressions: createClient(SuppressionService, transport),
    cache: createClient(CacheService, transport),
    errors,
    called,
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
