/** Composition root: the only file that constructs and connects things. */
import { setTimeout as delay } from 'node:timers/promises';
import { v7 as uuidv7 } from 'uuid';
import { CacheService } from '../gen/messaging/v1/cache_service_pb.js';
import { ConversationService } from '../gen/messaging/v1/conversation_service_pb.js';
import { MessageService } from '../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../gen/messaging/v1/provider_event_service_pb.js';
import { SuppressionService } from '../gen/messaging/v1/suppression_service_pb.js';
import { openCache } from './cache/open-cache.ts';
import type { Config } from './config.ts';
import { openDatabase } from './db/database.ts';
import { migrate } from './db/orm.ts';
import { discardChanges } from './db/outbox-discard.ts';
import { addressKey } from './domain/address.ts';
import { startHttpServer } from './http/http-server.ts';
import { watchReadiness } from './http/readiness.ts';
import { cacheService } from './rpc/cache-service.ts';
import { conversationService } from './rpc/conversation-service.ts';
import { createHealth, healthRoutes } from './rpc/health.ts';
import { messageService } from './rpc/message-service.ts';
import { providerEventService } from './rpc/provider-event-service.ts';
import { reflectionRoutes } from './rpc/reflection.ts';
import { startRpcServer } from './rpc/server.ts';
import { createAdministerCache } from './services/administer-cache.ts';
import { createChangeConversation } from './services/change-conversation.ts';
import { createChangeMessage } from './services/change-message.ts';
import { createCreateConversation } from './services/create-conversation.ts';
import { createPreviewMessage } from './services/preview-message.ts';
import { createReadConversations } from './services/read-conversations.ts';
import { createReadMessages } from './services/read-messages.ts';
import { createReceiveMessage } from './services/receive-message.ts';
import { createReportDelivery } from './services/report-delivery.ts';
import { createSendMessages } from './services/send-message.ts';
import { createWarmCache } from './services/warm-cache.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

export interface App extends AsyncDisposable {
  readonly grpcPort: number;
  readonly httpPort: number;
}

export interface Instruments {
  readonly log: Log;
  readonly metrics: Metrics;
}

const wait = (ms: number, signal: AbortSignal): Promise<void> => delay(ms, undefined, { signal }).catch(() => undefined);

/**
 * Throws when a port is taken or, with migrateOnStart, when PostgreSQL cannot be reached; then nothing stays open. `open`: what opens
 * the cache, for tests that put something between it and the database.
 */
export async function startApp(config: Config, instruments: Instruments, open = openCache): Promise<App> {
  await using opened = new AsyncDisposableStack();
  const { log, metrics } = instruments;
  if (config.migrateOnStart) log.info({ applied: await migrate(config.database) }, 'schema is up to date');
  const database = opened.use(await openDatabase(config.database));
  metrics.watchPool(database.pool);

  const cache = config.cache && opened.use(open(config.cache, database, instruments));
  if (cache === undefined) opened.use(discardChanges(database.outbox, log));
  const { reads, store } = cache ?? database;

  const clock = { now: () => new Date() };
  const newId = uuidv7;
  const senderKeys = new Set(config.senderAddresses.map(addressKey));
  const messages = messageService({
    sendMessages: createSendMessages({ store, clock, newId, senderKeys }),
    previewMessage: createPreviewMessage({ reads, clock, senderKeys }),
    readMessages: createReadMessages({ reads }),
    changeMessage: createChangeMessage({ store, clock, newId }),
  });
  const conversations = conversationService({
    createConversation: createCreateConversation({ store, clock, newId }),
    readConversations: createReadConversations({ reads }),
    changeConversation: createChangeConversation({ store }),
  });
  const providerEvents = providerEventService({
    receiveMessage: createReceiveMessage({ store, clock, newId }),
    reportDelivery: createReportDelivery({ store, clock, newId }),
  });
  const cacheAdmin = cacheService({
    administerCache: createAdministerCache({ cache: cache?.admin }),
    warmCache: createWarmCache({ reads: database.reads, cache: cache?.admin, clock, nowMs: () => performance.now(), wait }),
  });

  const services = [MessageService, ConversationService, ProviderEventService, SuppressionService, CacheService];
  const health = createHealth(services.map(({ typeName }) => typeName));
  const readiness = opened.use(watchReadiness({ database: database.check, redis: cache?.ping, onChange: health.set, log }));
  let draining = false;
  const http = opened.use(
    await startHttpServer({ ...config.http, ready: readiness.check, metrics: metrics.exposition, isDraining: () => draining }),
  );
  const server = await startRpcServer(config.grpc, {
    log,
    metrics,
    routes: [
      (router) => router.service(MessageService, messages),
      (router) => router.service(ConversationService, conversations),
      (router) => router.service(ProviderEventService, providerEvents),
      // Their methods answer UNIMPLEMENTED until they are built.
      (router) => router.service(SuppressionService, {}),
      (router) => router.service(CacheService, cacheAdmin),
      healthRoutes(health),
      reflectionRoutes(services.map(({ file }) => file)),
    ],
  });
  const { timeoutMs, delayMs } = config.shutdown;
  opened.defer(async () => {
    draining = true;
    health.close();
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    await server.close(timeoutMs);
  });

  const closing = opened.move();
  return { grpcPort: server.port, httpPort: http.port, [Symbol.asyncDispose]: () => closing.disposeAsync() };
}
