/** Composition root: the only file that constructs and connects things. */
import { setTimeout as delay } from 'node:timers/promises';
import { v7 as uuidv7 } from 'uuid';
import { CacheService } from '../gen/messaging/v1/cache_service_pb.js';
import { ConversationService } from '../gen/messaging/v1/conversation_service_pb.js';
import { MessageService } from '../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../gen/messaging/v1/provider_event_service_pb.js';
import { SuppressionService } from '../gen/messaging/v1/suppression_service_pb.js';
import { openStatusPages } from './app-status.ts';
import { webhookParts, webhookPosts } from './app-webhooks.ts';
import { openCache } from './cache/open-cache.ts';
import { openRateShares } from './cache/rate-shares.ts';
import type { Config } from './config.ts';
import { type Database, openDatabase } from './db/database.ts';
import { discardChanges } from './db/outbox-discard.ts';
import { addressKey } from './domain/address.ts';
import type { ProviderHealth } from './domain/provider-client.ts';
import { startHttpServer } from './http/http-server.ts';
import { watchReadiness } from './http/readiness.ts';
import { migrate } from './migrate.ts';
import { createAccessControl, openAccess } from './rpc/access-control.ts';
import { cacheService } from './rpc/cache-service.ts';
import { conversationService } from './rpc/conversation-service.ts';
import { createHealth, healthRoutes } from './rpc/health.ts';
import { messageService } from './rpc/message-service.ts';
import { providerEventService } from './rpc/provider-event-service.ts';
import { limitAccess, type RateLimitParts } from './rpc/rate-limits.ts';
import { reflectionRoutes } from './rpc/reflection.ts';
import { startRpcServer } from './rpc/server.ts';
import { suppressionService } from './rpc/suppression-service.ts';
import { createAdministerCache } from './services/administer-cache.ts';
import { createChangeConversation } from './services/change-conversation.ts';
import { createChangeMessage } from './services/change-message.ts';
import { createCreateConversation } from './services/create-conversation.ts';
import type { Retention } from './services/housekeeping.ts';
import { createManageSuppressions } from './services/manage-suppressions.ts';
import { createPreviewMessage } from './services/preview-message.ts';
import { createReadConversations } from './services/read-conversations.ts';
import { createReadMessages } from './services/read-messages.ts';
import { createReadWebhooks } from './services/read-webhooks.ts';
import { createReceiveMessage } from './services/receive-message.ts';
import { createReplayWebhook } from './services/repeat-webhook.ts';
import { createReportDelivery, type ReportParts } from './services/report-delivery.ts';
import { createSendMessages } from './services/send-message.ts';
import { createWarmCache } from './services/warm-cache.ts';
import { createWatchConversations } from './services/watch-conversations.ts';
import { createWatchMessages } from './services/watch-messages.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';
import { traceParent, withoutSpans } from './telemetry/trace.ts';

export interface App extends AsyncDisposable {
  /** undefined: this process answers no calls. */
  readonly grpcPort: number | undefined;
  readonly httpPort: number;
}

export interface Instruments {
  readonly log: Log;
  readonly metrics: Metrics;
}

const wait = (ms: number, signal: AbortSignal): Promise<void> => delay(ms, undefined, { signal }).catch(() => undefined);

function rateParts({ cache }: Config, opened: AsyncDisposableStack): RateLimitParts {
  const shares = opened.use(openRateShares({ redis: cache?.redis, keyPrefix: cache?.keyPrefix ?? '' }));
  return { takeShare: shares.take, nowMs: () => performance.now() };
}

/** How long rows are kept that only help operators and repeated calls. */
function retentionOf({ upkeep, webhooks, changeLog }: Database): readonly Retention[] {
  return [
    { name: 'request_ids', days: 8, prune: upkeep.pruneRequestIds },
    { name: 'webhook_requests', days: 30, prune: webhooks.deleteOlderThan },
    // A resume token is good for 7 days.
    { name: 'conversation_log', days: 8, prune: changeLog.pruneConversationLog },
  ];
}

/**
 * Throws when a port is taken or, with migrateOnStart, when PostgreSQL cannot be reached; then nothing stays open. `open`: what opens
 * the cache, for tests that put something between it and the database.
 */
export async function startApp(config: Config, instruments: Instruments, open = openCache): Promise<App> {
  await using opened = new AsyncDisposableStack();
  const { log, metrics } = instruments;
  if (config.migrateOnStart) log.info({ applied: await migrate({ ...config.database, url: config.migrationUrl }) }, 'schema is up to date');
  const database = opened.use(await openDatabase(config.database));
  metrics.watchPool(database.pool);

  const cache = config.cache && opened.use(open(config.cache, database, instruments));
  if (cache === undefined) opened.use(discardChanges(database.outbox, log));
  const { reads, store } = cache ?? database;

  const clock = { now: () => new Date() };
  const newId = uuidv7;
  const onDelivered: ReportParts['onDelivered'] = (messageType, ms) => metrics.deliveryReached('delivered', messageType, ms / 1_000);
  const nowMs = () => performance.now();
  const senderKeys = new Set(config.senderAddresses.map(addressKey));
  const watchTools = { nowMs, wait, random: Math.random, withoutSpans, onFallenBehind: metrics.watcherFellBehind, reads: database.reads };
  const watchMessages = createWatchMessages({ ...watchTools, log: database.changeLog.messages });
  const watchConversations = createWatchConversations({ ...watchTools, log: database.changeLog.conversations });
  metrics.watchStreams(() => ({ messages: watchMessages.size(), conversations: watchConversations.size() }));
  const readMessages = createReadMessages({ reads });
  const changeMessage = createChangeMessage({ store, clock, newId, traceParent });
  const messages = messageService({
    sendMessages: createSendMessages({
      store,
      clock,
      newId,
      traceParent,
      senderKeys,
      onSuppressed: () => metrics.suppressed('send'),
    }),
    previewMessage: createPreviewMessage({ reads, suppressions: database.suppressions, clock, senderKeys }),
    readMessages,
    changeMessage,
    watchMessages,
  });
  const conversations = conversationService({
    createConversation: createCreateConversation({ store, clock, newId }),
    readConversations: createReadConversations({ reads }),
    changeConversation: createChangeConversation({ store }),
    watchConversations,
  });
  const webhooks = webhookParts({ store, clock, newId, onDelivered }, instruments);
  const readWebhooks = createReadWebhooks({ webhooks: database.webhooks });
  const replayWebhook = createReplayWebhook(webhooks);
  const providerEvents = providerEventService({
    receiveMessage: createReceiveMessage({ store, clock, newId }),
    reportDelivery: createReportDelivery({ store, clock, newId, onDelivered }),
    readWebhooks,
    replayWebhook,
  });
  const suppressions = suppressionService({
    manageSuppressions: createManageSuppressions({ store, suppressions: database.suppressions, clock, newId }),
  });
  const cacheAdmin = cacheService({
    administerCache: createAdministerCache({ cache: cache?.admin }),
    warmCache: createWarmCache({ reads: database.reads, cache: cache?.admin, clock, nowMs, wait }),
  });

  let worker: AsyncDisposable | undefined;
  let providerHealth: () => readonly ProviderHealth[] = () => [];
  if (config.role !== 'server') {
    const [{ startWorker }, { openProviders }] = await Promise.all([import('./app-worker.ts'), import('./providers/open-providers.ts')]);
    const { clients } = opened.use(await openProviders(config.providers, instruments));
    const parts = {
      store,
      webhooks,
      outbox: database.outbox,
      upkeep: database.upkeep,
      retention: retentionOf(database),
      clients: [...clients.values()],
    };
    worker = opened.use(startWorker(config, { ...parts, ...instruments }));
    providerHealth = () => parts.clients.map((client) => client.health());
  }

  const services = [MessageService, ConversationService, ProviderEventService, SuppressionService, CacheService];
  const health = createHealth(services.map(({ typeName }) => typeName));
  const readiness = opened.use(
    watchReadiness({
      database: database.check,
      redis: cache?.ping,
      providers: () => providerHealth(),
      onChange: health.set,
      log,
      metrics,
    }),
  );
  let draining = false;
  const isDraining = () => draining;
  const use = { readMessages, changeMessage, readWebhooks, replayWebhook };
  const dependencies = readiness.check;
  const status = openStatusPages(config, { ...instruments, ...use, database, dependencies, isDraining, providerHealth, nowMs });
  if (status !== undefined) opened.use(status);
  const http = opened.use(
    await startHttpServer({
      ...config.http,
      ready: readiness.check,
      metrics: metrics.exposition,
      isDraining,
      gets: status?.routes.gets ?? new Map(),
      posts: new Map([...(config.role === 'worker' ? [] : webhookPosts(config, webhooks, instruments)), ...(status?.routes.posts ?? [])]),
    }),
  );
  const { timeoutMs, delayMs } = config.shutdown;
  if (config.role === 'worker') {
    opened.defer(() => {
      draining = true;
      health.close();
    });
    const closing = opened.move();
    return { grpcPort: undefined, httpPort: http.port, [Symbol.asyncDispose]: () => closing.disposeAsync() };
  }
  if (config.auth === undefined) log.warn('authentication is off: whoever reaches this port may do everything; for development alone');
  const identified = config.auth === undefined ? openAccess : await createAccessControl(config.auth, { log, nowMs, unixNowMs: Date.now });
  const access = config.rateLimits.length === 0 ? identified : limitAccess(identified, config.rateLimits, rateParts(config, opened));
  const server = await startRpcServer(config.grpc, {
    log,
    access,
    metrics,
    routes: [
      (router) => router.service(MessageService, messages),
      (router) => router.service(ConversationService, conversations),
      (router) => router.service(ProviderEventService, providerEvents),
      (router) => router.service(SuppressionService, suppressions),
      (router) => router.service(CacheService, cacheAdmin),
      healthRoutes(health),
      reflectionRoutes(services.map(({ file }) => file)),
    ],
  });
  opened.defer(async () => {
    draining = true;
    health.close();
    // Beside the calls that end; what is under way at a provider may take as long.
    const idle = worker?.[Symbol.asyncDispose]();
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    // Nobody else ends them.
    watchMessages.close();
    watchConversations.close();
    await server.close(timeoutMs);
    await idle;
  });

  const closing = opened.move();
  return { grpcPort: server.port, httpPort: http.port, [Symbol.asyncDispose]: () => closing.disposeAsync() };
}
