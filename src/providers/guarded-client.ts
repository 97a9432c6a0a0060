/** ProviderClient over one provider's API: what all providers have in common, from the place in the queue to the conclusion drawn. */
import type { Provider } from '../domain/message.ts';
import type { LookupOutcome, LostSubmission, ProviderClient, Submission, SubmissionOutcome } from '../domain/provider-client.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { type RequestSpan, withRequestSpan } from '../telemetry/trace.ts';
import { during, type Exchange, newExchange } from './exchange.ts';
import { createGuard, type GuardOptions, type Judged, within } from './guard.ts';
import { retryAfterOf, transient, type Verdict, verdictOf } from './verdict.ts';

/** What an answer says beside its status. */
export interface Refusal {
  /** Empty: none. */
  readonly code: string;
  readonly text: string;
  /** It finds fault with something in this message. */
  readonly blamesMessage: boolean;
}

/** The provider's id of a message it has accepted; undefined: the answer has none. Throws whatever the SDK throws. */
type Send = () => Promise<string | undefined>;

/** What is particular to a provider. Requests go through the transport of exchange.ts. */
export interface ProviderApi {
  readonly provider: Provider;
  readonly url: URL;
  /** What to do when it refuses our credentials. */
  readonly remedy: string;
  /** Loads the SDK, once. */
  load(): Promise<unknown>;
  /** Gets together what the message needs within `preparationMs`, in which the provider is not asked, and then lets `ask` send it. */
  submit(submission: Submission, preparationMs: number, ask: (send: Send) => Promise<SubmissionOutcome>): Promise<SubmissionOutcome>;
  /** Whether who may send may look up: where not, a refusal to look up says nothing of the credentials. */
  readonly sendersMayLookUp: boolean;
  /** Throws when the provider cannot be asked. */
  lookUp(lost: LostSubmission): Promise<LookupOutcome>;
  /** Reads an error of the SDK. */
  refusalOf(error: unknown): Refusal;
}

export interface Limits {
  readonly maxConcurrent: number;
  readonly maxPerSecond: number;
  /** Of a whole submission. */
  readonly timeoutMs: number;
}

export interface Instruments {
  readonly log: Log;
  readonly metrics: Pick<Metrics, 'providerAnswered' | 'providerBreaker'>;
}

export interface GuardedClientOptions extends Instruments {
  readonly limits: Limits;
  readonly breaker: GuardOptions['breaker'];
  /** Monotonic. */
  readonly nowMs: () => number;
  readonly unixNowMs: () => number;
}

/** What comes before a request, and connecting for it, each get half of the time, so that there is some for its answer. */
const HALF = 0.5;

/** What ended a request that was not answered: the code of the system, of TLS or of our own; never a text. */
function endingOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (typeof code === 'string' && /^[A-Z0-9_]{1,64}$/.test(code)) return code;
  return error instanceof Error && 'isTaskCancelledError' in error ? 'TIMEOUT' : 'ERROR';
}

export function guardedClient(api: ProviderApi, options: GuardedClientOptions): ProviderClient & Disposable {
  const { log, metrics, limits, nowMs, unixNowMs } = options;
  const { provider } = api;
  const guard = createGuard({
    ...limits,
    breaker: options.breaker,
    unixNowMs,
    onOpen(health, pauseMs) {
      metrics.providerBreaker(provider, true);
      const fields = { provider, retry_in_ms: pauseMs };
      if (health === 'refuses-us') log.error(fields, `${provider} refuses our credentials; its messages wait. ${api.remedy}`);
      else log.warn(fields, `${provider} fails again and again; its messages wait`);
    },
    onClosed() {
      metrics.providerBreaker(provider, false);
      log.info({ provider }, `${provider} answers again`);
    },
  });

  function notNow(code: string): SubmissionOutcome {
    const failure = { reason: 'attempts_exhausted', providerCode: code, providerMessage: '', retryable: true } as const;
    return transient(failure, guard.unavailableForMs() || undefined);
  }

  /** What `error` says, and what was seen of the request. */
  function conclude(error: unknown, exchange: Exchange): Verdict {
    const { sent, answer } = exchange;
    const ending = endingOf(error);
    const { code, text, blamesMessage } = answer === undefined ? { code: '', text: '', blamesMessage: false } : api.refusalOf(error);
    const retryAfterMs = answer && retryAfterOf(answer.headers, unixNowMs());
    if (!exchange.begun && ending !== 'TIMEOUT') log.error({ provider, err: error }, 'a request to a provider could not be made');
    return verdictOf({ provider, sent, status: answer?.status, retryAfterMs, code, ending, text, blamesMessage });
  }

  /** Makes the requests of `work` and draws the conclusion; undefined: the breaker is against it. */
  function request<T extends Judged>(
    operation: 'submit' | 'look_up',
    deadlineMs: number,
    span: RequestSpan,
    work: () => Promise<T>,
    onError: (verdict: Verdict) => T,
  ): Promise<T | undefined> {
    return guard.ask(async () => {
      const startedMs = nowMs();
      const timeoutMs = Math.max(deadlineMs - startedMs, 1);
      const exchange = newExchange(limits.timeoutMs * HALF);
      try {
        return await within(timeoutMs, (signal) => during(exchange, signal, work));
      } catch (error) {
        const verdict = conclude(error, exchange);
        guard.slowDown(verdict.slowDownMs);
        return onError(verdict);
      } finally {
        metrics.providerAnswered(provider, operation, (nowMs() - startedMs) / 1_000);
        if (exchange.answer !== undefined) span.answered(exchange.answer.status);
      }
    });
  }

  async function submit(submission: Submission, span: RequestSpan): Promise<SubmissionOutcome> {
    const deadlineMs = nowMs() + limits.timeoutMs;
    using place = await guard.enter();
    if (place === undefined) return notNow('BUSY');
    if (guard.breaker() !== 'closed' && guard.unavailableForMs() > 0) return notNow('BREAKER_OPEN');
    return await api.submit(submission, limits.timeoutMs * HALF, async (send) => {
      const accept = async (): Promise<Verdict> => {
        const providerMessageId = await send();
        if (providerMessageId === undefined || providerMessageId === '') throw new Error('an acceptance without an id');
        return { outcome: { kind: 'accepted', providerMessageId }, health: 'well', slowDownMs: 0 };
      };
      const verdict = await request('submit', deadlineMs, span, accept, (failed) => failed);
      return verdict?.outcome ?? notNow('BREAKER_OPEN');
    });
  }

  async function lookUp(lost: LostSubmission, span: RequestSpan): Promise<LookupOutcome> {
    const unavailable = { kind: 'unavailable' } as const;
    const deadlineMs = nowMs() + limits.timeoutMs;
    using place = await guard.reserve(AbortSignal.timeout(limits.timeoutMs * HALF));
    if (place === undefined || guard.unavailableForMs() > 0) return unavailable;
    if (guard.breaker() !== 'closed' && !api.sendersMayLookUp) return unavailable;
    const ask = async () => ({ outcome: await api.lookUp(lost), health: 'well' }) as const;
    const answered = await request<Judged & { readonly outcome: LookupOutcome }>('look_up', deadlineMs, span, ask, ({ health }) => ({
      outcome: unavailable,
      health: health === 'refuses-us' && !api.sendersMayLookUp ? 'well' : health,
    }));
    return answered?.outcome ?? unavailable;
  }

  return {
    provider,
    unavailableForMs: guard.unavailableForMs,
    async admit() {
      // A first request should not wait for it when its attempt has been written. What is wrong with it, submit will say.
      await api.load().catch(() => undefined);
      return guard.admit();
    },
    submit: (submission) =>
      withRequestSpan(provider, 'submit', api.url, async (span) => {
        const outcome = await submit(submission, span).catch((error: unknown) => {
          log.error({ provider, err: error }, 'a message could not be made ready for its provider');
          return notNow('ERROR');
        });
        span.set('delivery.outcome', outcome.kind);
        if (outcome.kind !== 'accepted') span.failed(outcome.kind);
        return outcome;
      }),
    lookUp: (lost) =>
      withRequestSpan(provider, 'look_up', api.url, async (span) => {
        const outcome = await lookUp(lost, span);
        span.set('delivery.outcome', outcome.kind);
        if (outcome.kind === 'unavailable') span.failed(outcome.kind);
        return outcome;
      }),
    health: () => ({ provider, breaker: guard.breaker() }),
    drain: guard.drain,
    [Symbol.dispose]: () => guard[Symbol.dispose](),
  };
}
