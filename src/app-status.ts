/** The part of the composition root that shows operators how the service is. */
import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { timestampDate } from '@bufbuild/protobuf/wkt';
import { FailureReason, MessageType, Provider } from '../gen/messaging/v1/message_pb.js';
import { WebhookRequest_State as State } from '../gen/messaging/v1/provider_event_service_pb.js';
import packageJson from '../package.json' with { type: 'json' };
import type { Config } from './config.ts';
import type { Database } from './db/database.ts';
import { deadLetterReasons } from './domain/message.ts';
import type { ProviderHealth } from './domain/provider-client.ts';
import type { MessageView, WebhookRequestView } from './domain/views.ts';
import { WEBHOOK_PATHS, webhookEndpoints } from './domain/webhook-request.ts';
import type { Dependency } from './http/http-server.ts';
import { createAccess } from './http/status-access.ts';
import { createHistory, type History, STEP_MS } from './http/status-history.ts';
import { readStatusPage } from './http/status-page.ts';
import { type StatusRoutes, statusRoutes } from './http/status-routes.ts';
import { createStatus, type DeadLetter, type Some, type StatusSources, type WebhookLine } from './http/status-snapshot.ts';
import type { createChangeMessage } from './services/change-message.ts';
import type { createReadMessages } from './services/read-messages.ts';
import type { createReadWebhooks } from './services/read-webhooks.ts';
import type { createReplayWebhook } from './services/repeat-webhook.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';
import { redactText } from './telemetry/redact.ts';
import { continueTrace } from './telemetry/trace.ts';

interface StatusParts {
  readonly database: Pick<Database, 'outbox' | 'upkeep'>;
  readonly readMessages: Pick<ReturnType<typeof createReadMessages>, 'list'>;
  readonly changeMessage: Pick<ReturnType<typeof createChangeMessage>, 'retry'>;
  readonly readWebhooks: Pick<ReturnType<typeof createReadWebhooks>, 'list'>;
  readonly replayWebhook: ReturnType<typeof createReplayWebhook>;
  readonly dependencies: () => Promise<readonly Dependency[]>;
  readonly isDraining: () => boolean;
  readonly providerHealth: () => readonly ProviderHealth[];
  readonly nowMs: () => number;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface StatusPages extends AsyncDisposable {
  readonly routes: StatusRoutes;
}

const MAX_DEAD_LETTERS = 20;
const MAX_QUARANTINED = 10;
const MAX_RECENT = 10;
/** As whom messages are retried from the page. */
const CALLER = 'status-page';

const timeOf = (timestamp: Parameters<typeof timestampDate>[0] | undefined): string =>
  timestamp === undefined ? '' : timestampDate(timestamp).toISOString();

function deadLetterOf({ id, conversationId, provider, messageType, failure, attemptCount, failedAt }: MessageView): DeadLetter {
  return {
    ...{ id, conversationId, attempts: attemptCount, failedAt: timeOf(failedAt) },
    provider: Provider[provider].toLowerCase(),
    messageType: MessageType[messageType].toLowerCase(),
    reason: FailureReason[failure?.reason ?? FailureReason.UNSPECIFIED].toLowerCase(),
  };
}

/** Without the path as it came: what is in its query is the provider's. */
function webhookLineOf({ id, path, state, error, receivedAt }: WebhookRequestView): WebhookLine {
  const endpoint = webhookEndpoints.find((known) => WEBHOOK_PATHS[known] === path.split('?')[0]) ?? '';
  return { id, endpoint, error: redactText(error), state: State[state].toLowerCase(), receivedAt: timeOf(receivedAt) };
}

function someOf<Item, Line>(page: { readonly items: readonly Item[]; readonly next?: unknown }, lineOf: (item: Item) => Line): Some<Line> {
  return { items: page.items.map(lineOf), more: page.next !== undefined };
}

function sourcesOf(config: Config, parts: StatusParts): StatusSources {
  const { database, readMessages, readWebhooks, metrics } = parts;
  const deadLetters = { conversationIds: [], statuses: [], messageTypes: [], failureReasons: deadLetterReasons };
  return {
    about: { version: packageJson.version, role: config.role, instance: `${hostname()}, process ${process.pid}`, node: process.version },
    // A password in the place of something else must not be shown either.
    settings: config.settings.map(({ value, ...setting }) => ({ ...setting, value: redactText(value) })),
    cacheOn: config.cache !== undefined,
    readings: metrics.readings,
    dependencies: parts.dependencies,
    isDraining: parts.isDraining,
    providers: parts.providerHealth,
    outbox: database.outbox.backlog,
    backlog: database.upkeep.backlog,
    deadLetters: async () => someOf(await readMessages.list(deadLetters, { size: MAX_DEAD_LETTERS }), deadLetterOf),
    async webhooks() {
      const [quarantined, recent] = await Promise.all([
        readWebhooks.list({ state: 'quarantined' }, { size: MAX_QUARANTINED }),
        readWebhooks.list({}, { size: MAX_RECENT }),
      ]);
      return { quarantined: someOf(quarantined, webhookLineOf), recent: someOf(recent, webhookLineOf) };
    },
    nowMs: parts.nowMs,
  };
}

async function sample(history: History, { metrics, log }: StatusParts, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await delay(STEP_MS, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    try {
      history.add(await metrics.readings());
    } catch (error) {
      log.debug({ err: error }, 'the metrics could not be read; trying again');
    }
  }
}

const inTrace = <T>(action: string, work: () => Promise<T>): Promise<T> =>
  continueTrace({ name: `status page ${action}`, kind: 'server', parent: '', attributes: {} }, work);

/** undefined: it is not switched on. */
export function openStatusPages(config: Config, parts: StatusParts): StatusPages | undefined {
  const { changeMessage, replayWebhook, nowMs, log } = parts;
  if (config.status === undefined) return undefined;
  const history = createHistory(nowMs);
  const stopping = new AbortController();
  const sampling = sample(history, parts, stopping.signal);
  const routes = statusRoutes({
    access: createAccess({ ...config.status, nowMs }),
    page: readStatusPage(),
    status: createStatus(sourcesOf(config, parts), history),
    actions: {
      retryMessage: (id, force) => inTrace('retry message', async () => void (await changeMessage.retry(id, force, undefined, CALLER))),
      replayWebhook: (id) => inTrace('replay webhook', async () => State[(await replayWebhook(id)).state].toLowerCase()),
    },
    log,
  });
  return {
    routes,
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await sampling;
    },
  };
}
