/** Metrics of delivery: the queue, providers, webhooks, watchers. Labels are closed sets. */
import { Counter, Gauge, Histogram, type OpenMetricsContentType, type Registry } from 'prom-client';

type Provider = 'twilio' | 'sendgrid';
type MessageType = 'sms' | 'mms' | 'email';
type AttemptOutcome = 'accepted' | 'rejected' | 'transient' | 'credentials' | 'unknown' | 'given_up';
/** Of ours, on a message that its provider never spoke of; `select * from dead_letters` names them. */
type DeadLetterReason = 'expired' | 'attempts_exhausted' | 'outcome_unknown';
type WebhookEndpoint = 'twilio_status' | 'twilio_inbound' | 'sendgrid_events' | 'sendgrid_inbound';
/** `applied`: everything in it. `failed`: our fault, answered 503. */
type WebhookResult = 'applied' | 'unmatched' | 'quarantined' | 'forbidden' | 'too_large' | 'failed';
type WebhookEventResult = 'applied' | 'duplicate' | 'unmatched' | 'quarantined';

export interface QueueState {
  readonly provider: Provider;
  /** Messages that are PENDING and due. */
  readonly depth: number;
  /** How long the one that waits longest has been due; 0 when none is. */
  readonly oldestSeconds: number;
}

export interface DeliveryMetrics {
  /** What came of a submission, be it at once or later. */
  deliveryAttempt(provider: Provider, outcome: AttemptOutcome): void;
  /** A message was given up without a verdict of its provider. */
  deadLetter(provider: Provider, reason: DeadLetterReason): void;
  /** Time until a provider answered, or failed to. */
  providerAnswered(provider: Provider, operation: 'submit' | 'look_up', seconds: number): void;
  providerBreaker(provider: Provider, open: boolean): void;
  /** From SendMessage, or the time it was to be sent, until a provider accepted or delivered it; 0 when that was before. */
  deliveryReached(stage: 'accepted' | 'delivered', messageType: MessageType, seconds: number): void;
  queueState(states: readonly QueueState[]): void;
  webhookRequest(endpoint: WebhookEndpoint, result: WebhookResult): void;
  webhookEvent(provider: Provider, result: WebhookEventResult): void;
  suppressed(where: 'send' | 'dispatch'): void;
  /** `read` is called at every scrape and must not throw. The latest one counts. */
  watchStreams(read: () => { readonly messages: number; readonly conversations: number }): void;
  /** A stream whose caller does not keep up reads the log by itself. */
  watcherFellBehind(): void;
}

const ANSWER_SECONDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const DELIVERY_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400];
const PROVIDERS = ['twilio', 'sendgrid'] as const;

type Registers = [Registry<OpenMetricsContentType>];
type Outbound = 'deliveryAttempt' | 'deadLetter' | 'providerAnswered' | 'providerBreaker' | 'deliveryReached' | 'queueState' | 'suppressed';

function outboundMetrics(registers: Registers): Pick<DeliveryMetrics, Outbound> {
  const attempts = new Counter({
    name: 'delivery_attempts_total',
    help: 'Submissions to providers, by what came of them.',
    labelNames: ['provider', 'outcome'] as const,
    registers,
  });
  const deadLetters = new Counter({
    name: 'delivery_dead_letters_total',
    help: 'Messages that were given up without a verdict of their provider.',
    labelNames: ['provider', 'reason'] as const,
    registers,
  });
  const answers = new Histogram({
    name: 'provider_request_duration_seconds',
    help: 'Time until a provider answered, or the wait for it ended.',
    labelNames: ['provider', 'operation'] as const,
    buckets: ANSWER_SECONDS,
    registers,
  });
  const breakers = new Gauge({
    name: 'provider_breaker_open',
    help: '1 while a provider is not asked because it did not answer, or refuses our credentials.',
    labelNames: ['provider'] as const,
    registers,
  });
  const reached = new Histogram({
    name: 'delivery_duration_seconds',
    help: 'Time from the acceptance of a message here, or from its send_at, until a provider accepted it, and until it was delivered.',
    labelNames: ['stage', 'message_type'] as const,
    buckets: DELIVERY_SECONDS,
    registers,
  });
  const depth = new Gauge({
    name: 'delivery_queue_depth',
    help: 'Messages that are PENDING and due.',
    labelNames: ['provider'] as const,
    registers,
  });
  const oldest = new Gauge({
    name: 'delivery_queue_oldest_seconds',
    help: 'How long the message that waits longest has been due.',
    labelNames: ['provider'] as const,
    registers,
  });
  const suppressions = new Counter({
    name: 'delivery_suppressed_total',
    help: 'Messages that were not sent because their recipient had opted out.',
    labelNames: ['where'] as const,
    registers,
  });
  for (const provider of PROVIDERS) {
    breakers.labels(provider).set(0);
    for (const outcome of ['accepted', 'rejected', 'transient', 'credentials', 'unknown', 'given_up'] satisfies AttemptOutcome[]) {
      attempts.labels(provider, outcome).inc(0);
    }
    for (const reason of ['expired', 'attempts_exhausted', 'outcome_unknown'] satisfies DeadLetterReason[]) {
      deadLetters.labels(provider, reason).inc(0);
    }
  }
  for (const where of ['send', 'dispatch']) suppressions.labels(where).inc(0);
  return {
    deliveryAttempt: (provider, outcome) => attempts.labels(provider, outcome).inc(),
    deadLetter: (provider, reason) => deadLetters.labels(provider, reason).inc(),
    providerAnswered: (provider, operation, seconds) => answers.labels(provider, operation).observe(seconds),
    providerBreaker: (provider, open) => breakers.labels(provider).set(open ? 1 : 0),
    deliveryReached: (stage, messageType, seconds) => reached.labels(stage, messageType).observe(Math.max(0, seconds)),
    queueState(states) {
      for (const state of states) {
        depth.labels(state.provider).set(state.depth);
        oldest.labels(state.provider).set(state.oldestSeconds);
      }
    },
    suppressed: (where) => suppressions.labels(where).inc(),
  };
}

function inboundMetrics(registers: Registers): Pick<DeliveryMetrics, 'webhookRequest' | 'webhookEvent'> {
  const requests = new Counter({
    name: 'webhook_requests_total',
    help: 'Webhook requests, by what came of them.',
    labelNames: ['endpoint', 'result'] as const,
    registers,
  });
  const events = new Counter({
    name: 'webhook_events_total',
    help: 'Events and messages in webhook requests, by what came of them.',
    labelNames: ['provider', 'result'] as const,
    registers,
  });
  for (const endpoint of ['twilio_status', 'twilio_inbound', 'sendgrid_events', 'sendgrid_inbound']) {
    for (const result of ['applied', 'unmatched', 'quarantined', 'forbidden', 'too_large', 'failed'])
      requests.labels(endpoint, result).inc(0);
  }
  return {
    webhookRequest: (endpoint, result) => requests.labels(endpoint, result).inc(),
    webhookEvent: (provider, result) => events.labels(provider, result).inc(),
  };
}

function watchMetrics(registers: Registers): Pick<DeliveryMetrics, 'watchStreams' | 'watcherFellBehind'> {
  let read: (() => { readonly messages: number; readonly conversations: number }) | undefined;
  new Gauge({
    name: 'watch_streams',
    help: 'Open WatchMessages and WatchConversations streams.',
    labelNames: ['kind'] as const,
    registers,
    collect() {
      if (read === undefined) return;
      const { messages, conversations } = read();
      this.set({ kind: 'messages' }, messages);
      this.set({ kind: 'conversations' }, conversations);
    },
  });
  const fallenBehind = new Counter({
    name: 'watch_streams_fallen_behind_total',
    help: 'Times that a stream began to read the log by itself because its caller did not keep up.',
    registers,
  });
  return {
    watchStreams(latest) {
      read = latest;
    },
    watcherFellBehind: () => fallenBehind.inc(),
  };
}

export function deliveryMetrics(registers: Registers): DeliveryMetrics {
  return { ...outboundMetrics(registers), ...inboundMetrics(registers), ...watchMetrics(registers) };
}
