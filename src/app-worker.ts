/** The part of the composition root that hands messages to providers: one lane of the queue for each, and one for upkeep. */
import { setTimeout as delay } from 'node:timers/promises';
import { v7 as uuidv7 } from 'uuid';
import type { Config } from './config.ts';
import type { Upkeep } from './domain/delivery-ports.ts';
import type { Outbox, Store } from './domain/ports.ts';
import type { ProviderClient } from './domain/provider-client.ts';
import { type Lane, startQueue, type Task } from './jobs/queue-worker.ts';
import type { WebhookParts } from './services/apply-webhook.ts';
import { createDispatchMessage, type DispatchRequest } from './services/dispatch-message.ts';
import type { DeliveryObserver } from './services/dispatch-parts.ts';
import { createHousekeeping, type Retention } from './services/housekeeping.ts';
import { createRetryWebhook } from './services/repeat-webhook.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';
import { continueTrace, traceParent } from './telemetry/trace.ts';

export interface WorkerParts {
  readonly store: Store;
  readonly webhooks: WebhookParts;
  readonly upkeep: Upkeep;
  readonly outbox: Pick<Outbox, 'backlog'>;
  readonly retention: readonly Retention[];
  readonly clients: readonly ProviderClient[];
  readonly log: Log;
  readonly metrics: Metrics;
}

const BACKLOG_INTERVAL_MS = 5_000;
const WEBHOOK_RETRIES_AT_ONCE = 4;

/** What this service itself has put into the queue; anything else there is a defect of ours. */
function textsOf<Name extends string>(payload: unknown, ...names: readonly Name[]): Readonly<Record<Name, string>> {
  const fields = payload as Readonly<Record<string, unknown>>;
  const malformed = names.find((name) => typeof fields[name] !== 'string');
  if (malformed !== undefined) throw new Error(`${malformed} of a job's payload is not a string`);
  return fields as Readonly<Record<Name, string>>;
}

const requestOf = (payload: unknown): DispatchRequest => textsOf(payload, 'messageId', 'conversationId', 'traceParent');

function observerOf(metrics: Metrics): DeliveryObserver {
  return {
    attempt: metrics.deliveryAttempt,
    reached: (stage, messageType, ms) => metrics.deliveryReached(stage, messageType, ms / 1_000),
    suppressed: () => metrics.suppressed('dispatch'),
    deadLetter: metrics.deadLetter,
  };
}

function dispatchLane(client: ProviderClient, concurrency: number, config: Config, { store, metrics }: WorkerParts): Lane {
  const dispatch = createDispatchMessage({
    store,
    clock: { now: () => new Date() },
    newId: uuidv7,
    random: Math.random,
    wait: (ms) => delay(ms),
    policy: config.dispatch,
    observer: observerOf(metrics),
    client,
    currentTraceParent: traceParent,
  });
  const task: Task = async (payload) => {
    const request = requestOf(payload);
    const attributes = { 'messaging.message.id': request.messageId, 'messaging.provider': client.provider };
    await continueTrace({ name: 'dispatch message', kind: 'consumer', parent: request.traceParent, attributes }, () => dispatch(request));
  };
  return { concurrency, tasks: { [`dispatch_${client.provider}`]: task } };
}

/** Keeps the gauges of the queue and of the outbox fresh; nobody waits for it. */
async function sampleBacklog({ upkeep, outbox, metrics, log }: WorkerParts, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      const [backlog, changes] = await Promise.all([upkeep.backlog(), outbox.backlog()]);
      metrics.queueState(backlog.map(({ provider, depth, oldestMs }) => ({ provider, depth, oldestSeconds: oldestMs / 1_000 })));
      metrics.outboxWaits({ rows: changes.rows, oldestSeconds: changes.oldestMs / 1_000 });
    } catch (error) {
      log.debug({ err: error }, 'the queue could not be measured; trying again');
    }
    await delay(BACKLOG_INTERVAL_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** Starts at once, whether PostgreSQL answers or not. Disposing takes no more jobs and lets running ones end; again, it waits for the same. */
export function startWorker(config: Config, parts: WorkerParts): AsyncDisposable {
  const { upkeep, retention, clients, log } = parts;
  const housekeeping = createHousekeeping({ upkeep, retention, clock: { now: () => new Date() } });
  const retryWebhook = createRetryWebhook(parts.webhooks);
  const webhookLane: Lane = {
    concurrency: WEBHOOK_RETRIES_AT_ONCE,
    tasks: { retry_webhook: (payload) => retryWebhook(textsOf(payload, 'webhookRequestId').webhookRequestId) },
  };
  const upkeepLane: Lane = {
    concurrency: 1,
    tasks: {
      async housekeeping() {
        const { requeued, pruned } = await housekeeping();
        if (requeued > 0) log.warn({ requeued }, 'messages had lost their jobs and have them again');
        log.debug({ pruned }, 'removed what is old');
      },
    },
    crontab: '* * * * * housekeeping ?max=3',
  };
  const lanes = clients.map((client) => dispatchLane(client, config.providers[client.provider]?.limits.maxConcurrent ?? 1, config, parts));
  const { workerLostMs, callMs } = config.dispatch;
  const queue = startQueue({
    connectionString: config.database.url,
    workerLostMs,
    // Longer than a provider may be asked: what it answers is still written down.
    closePatienceMs: callMs,
    lanes: [...lanes, webhookLane, upkeepLane],
    log,
  });
  const stopping = new AbortController();
  const sampling = sampleBacklog(parts, stopping.signal);
  return {
    async [Symbol.asyncDispose]() {
      stopping.abort();
      for (const client of clients) client.drain();
      await queue[Symbol.asyncDispose]();
      await sampling;
    },
  };
}
