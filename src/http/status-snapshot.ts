/** What the status page shows, put together anew for whoever asks, at most once at a time. */
import type { QueueBacklog } from '../domain/delivery-ports.ts';
import type { ProviderHealth } from '../domain/provider-client.ts';
import type { Readings } from '../telemetry/metric-readings.ts';
import type { Dependency } from './http-server.ts';
import { type History, type HistoryPoint, STEP_MS } from './status-history.ts';
import type { Rates } from './status-rates.ts';

/** A variable of the configuration, as it may be shown. */
export interface Setting {
  readonly name: string;
  readonly value: string;
  /** False: the default. */
  readonly isSet: boolean;
}

export interface DeadLetter {
  readonly id: string;
  readonly conversationId: string;
  readonly provider: string;
  readonly messageType: string;
  readonly reason: string;
  readonly attempts: number;
  /** RFC 3339. */
  readonly failedAt: string;
}

export interface WebhookLine {
  readonly id: string;
  readonly endpoint: string;
  readonly state: string;
  /** Why it could not be processed; empty: it was. */
  readonly error: string;
  /** RFC 3339. */
  readonly receivedAt: string;
}

/** The first of a list. */
export interface Some<Item> {
  readonly items: readonly Item[];
  /** There are others. */
  readonly more: boolean;
}

export interface About {
  readonly version: string;
  readonly role: string;
  /** What tells this process from its replicas. */
  readonly instance: string;
  readonly node: string;
}

export interface Waiting {
  readonly rows: number;
  readonly oldestMs: number;
}

/** null: could not be found out just now. */
export interface Snapshot {
  readonly about: About & { readonly uptimeMs: number };
  readonly state: 'ready' | 'degraded' | 'not ready' | 'draining';
  readonly dependencies: readonly Dependency[] | null;
  readonly breakers: readonly { readonly name: string; readonly state: ProviderHealth['breaker'] | 'not used' }[];
  readonly rates: Rates;
  readonly history: { readonly stepMs: number; readonly points: readonly HistoryPoint[] };
  /** `outbox`: changes that wait to be told to the cache. */
  readonly cache: { readonly on: boolean; readonly trusted: boolean; readonly outbox: Waiting | null };
  readonly queue: readonly QueueBacklog[] | null;
  readonly deadLetters: Some<DeadLetter> | null;
  /** Those that need somebody, and the latest. */
  readonly webhooks: { readonly quarantined: Some<WebhookLine>; readonly recent: Some<WebhookLine> } | null;
  readonly process: Pick<Readings, 'memoryBytes' | 'pool' | 'watchers'>;
  readonly settings: readonly Setting[];
}

export interface StatusSources {
  readonly about: About;
  readonly settings: readonly Setting[];
  readonly cacheOn: boolean;
  readings(): Promise<Readings>;
  dependencies(): Promise<readonly Dependency[]>;
  isDraining(): boolean;
  /** Of the providers that this process sends through. */
  providers(): readonly ProviderHealth[];
  outbox(): Promise<Waiting>;
  backlog(): Promise<readonly QueueBacklog[]>;
  deadLetters(): Promise<Some<DeadLetter>>;
  webhooks(): Promise<NonNullable<Snapshot['webhooks']>>;
  /** Monotonic. */
  readonly nowMs: () => number;
}

/** Longest wait for one part: the page asks again sooner than a database that is gone gives up. */
const PART_TIMEOUT_MS = 1_500;
/** However many pages are open, PostgreSQL is asked once in this time. */
const FRESH_MS = { dependencies: 1_000, outbox: 2_000, backlog: 5_000, deadLetters: 5_000, webhooks: 2_000 };

interface Part<T> {
  (): Promise<T | null>;
  /** Ask again, since it was changed. */
  forget(): void;
}

/** Asks at most once at a time, and again when the last answer is `freshMs` old; null: it failed, or takes too long. */
export function shared<T>(load: () => Promise<T>, freshMs: number, nowMs: () => number, timeoutMs = PART_TIMEOUT_MS): Part<T> {
  let asked: { readonly answer: Promise<T | null>; settledAtMs: number | undefined } | undefined;
  const ask = (): Promise<T | null> => {
    const answer = load().catch(() => null);
    const asking: NonNullable<typeof asked> = { answer, settledAtMs: undefined };
    asked = asking;
    void answer.then(() => {
      asking.settledAtMs = nowMs();
    });
    return answer;
  };
  const read = async (): Promise<T | null> => {
    const isFresh = asked !== undefined && (asked.settledAtMs === undefined || nowMs() - asked.settledAtMs < freshMs);
    const answer = isFresh && asked !== undefined ? asked.answer : ask();
    const { promise: tooLate, resolve } = Promise.withResolvers<null>();
    const timer = setTimeout(() => resolve(null), timeoutMs);
    try {
      return await Promise.race([answer, tooLate]);
    } finally {
      clearTimeout(timer);
    }
  };
  const forget = () => {
    asked = undefined;
  };
  return Object.assign(read, { forget });
}

function stateOf(dependencies: readonly Dependency[] | null, isDraining: boolean): Snapshot['state'] {
  if (isDraining) return 'draining';
  if (dependencies === null || dependencies.some(({ ok, required }) => required && !ok)) return 'not ready';
  return dependencies.every(({ ok }) => ok) ? 'ready' : 'degraded';
}

function breakersOf(sources: StatusSources, readings: Readings): Snapshot['breakers'] {
  const health = sources.providers();
  const redis = sources.cacheOn ? (readings.cacheBreakerOpen ? 'open' : 'closed') : 'not used';
  const ofProvider = (name: ProviderHealth['provider']) => ({
    name,
    state: health.find(({ provider }) => provider === name)?.breaker ?? ('not used' as const),
  });
  return [{ name: 'redis', state: redis }, ofProvider('twilio'), ofProvider('sendgrid')];
}

export interface Status {
  read(): Promise<Snapshot>;
  /** Dead letters and webhook requests are other ones now. */
  changed(): void;
}

export function createStatus(sources: StatusSources, history: Pick<History, 'latest' | 'points'>): Status {
  const { nowMs } = sources;
  const startedAtMs = nowMs();
  const dependencies = shared(sources.dependencies, FRESH_MS.dependencies, nowMs);
  const outbox = shared(sources.outbox, FRESH_MS.outbox, nowMs);
  const backlog = shared(sources.backlog, FRESH_MS.backlog, nowMs);
  const deadLetters = shared(sources.deadLetters, FRESH_MS.deadLetters, nowMs);
  const webhooks = shared(sources.webhooks, FRESH_MS.webhooks, nowMs);
  return {
    async read() {
      // Before the questions, of which the pool of connections would tell.
      const readings = await sources.readings();
      const parts = [dependencies(), sources.cacheOn ? outbox() : null, backlog(), deadLetters(), webhooks()] as const;
      const [known, waiting, queue, letters, requests] = await Promise.all(parts);
      const { memoryBytes, pool, watchers } = readings;
      return {
        about: { ...sources.about, uptimeMs: nowMs() - startedAtMs },
        state: stateOf(known, sources.isDraining()),
        dependencies: known,
        breakers: breakersOf(sources, readings),
        rates: history.latest(readings),
        history: { stepMs: STEP_MS, points: history.points() },
        cache: { on: sources.cacheOn, trusted: readings.trusted, outbox: waiting },
        queue,
        deadLetters: letters,
        webhooks: requests,
        process: { memoryBytes, pool, watchers },
        settings: sources.settings,
      };
    },
    changed() {
      deadLetters.forget();
      webhooks.forget();
    },
  };
}
