/**
 * What stands before a provider: so many requests a second, so many at once, a time-out for each, and a breaker that leaves a provider
 * alone which fails, or refuses us.
 */
import {
  bulkhead,
  CircuitState,
  ConsecutiveBreaker,
  circuitBreaker,
  DelegateBackoff,
  handleWhenResult,
  isBrokenCircuitError,
  TimeoutStrategy,
  timeout,
} from 'cockatiel';
import { RateLimiterMemory, RateLimiterQueue } from 'rate-limiter-flexible';

/** `refuses-us`: no request will succeed before somebody mends our account. */
export interface Judged {
  readonly health: 'well' | 'failing' | 'refuses-us';
}

export interface BreakerSettings {
  /** One after the other. */
  readonly failuresToOpen: number;
  /** Doubled each time the provider still fails afterwards. */
  readonly firstPauseMs: number;
  readonly maxPauseMs: number;
  /** Between two trials of whether our credentials are taken again. */
  readonly credentialsPauseMs: number;
}

export interface GuardOptions {
  readonly maxConcurrent: number;
  readonly maxPerSecond: number;
  readonly breaker: BreakerSettings;
  /** The clock that cockatiel reads by itself: Date.now. */
  readonly unixNowMs: () => number;
  readonly onOpen: (health: Judged['health'], pauseMs: number) => void;
  readonly onClosed: () => void;
}

/** Disposed of, it lets nobody in, those who were admitted included, and whoever waits gets on without a place. */
export interface Guard extends Disposable {
  /** Resolves when one more request may start, and keeps a place for it, until it is disposed of. Never rejects. */
  admit(): Promise<Disposable>;
  /** The place of whoever was admitted first, or a free one; undefined: there is none. Dispose of it when the request is over. */
  enter(): Promise<Disposable | undefined>;
  /** Waits for a place of its own; undefined: there was none before the signal. */
  reserve(signal: AbortSignal): Promise<Disposable | undefined>;
  /** 0: it may be asked now. */
  unavailableForMs(): number;
  breaker(): 'closed' | 'half-open' | 'open';
  /** Runs `work`, which never throws, unless the breaker is against it; undefined: it is. */
  ask<T extends Judged>(work: () => Promise<T>): Promise<T | undefined>;
  /** Nobody is admitted for so long. */
  slowDown(ms: number): void;
  /** From now on it admits nobody and is unavailable; whoever waits gets on without a place. Those it has admitted may still enter. */
  drain(): void;
}

/** For whoever was admitted to begin: longer than it takes to write the attempt down, statement and lock time-outs included. */
export const ADMISSION_MS = 15_000;
/** How long until it is worth asking again while a request tries whether the provider is back. */
const TRIAL_MS = 1_000;
/** As long as it takes until another process looks. */
const DRAINED_MS = 1_000;
const MAX_WAITING = 10_000;
const MAX_SLOW_DOWN_MS = 60_000;
/** Trials that fail one after the other while one waits to be admitted. */
const MAX_TRIALS_AWAITED = 100;
const RATE_KEY = 'limiter';

const SECOND_MS = 1_000;

/** A place among the requests that run at once. */
interface Slot {
  readonly left: Promise<void>;
  readonly leave: () => void;
}

/** A place, counted against the rate. */
interface Turn {
  readonly slot: Slot;
  readonly countedAtMs: number;
}

const NO_PLACE: Disposable = { [Symbol.dispose]: () => undefined };

const asPlace = ({ leave }: Slot): Disposable => ({ [Symbol.dispose]: leave });

export function createGuard(options: GuardOptions): Guard {
  const { unixNowMs } = options;
  const limiter = new RateLimiterMemory({ points: options.maxPerSecond, duration: 1 });
  const rate = new RateLimiterQueue(limiter, { maxQueueSize: MAX_WAITING });
  const slots = bulkhead(options.maxConcurrent, MAX_WAITING);
  const admitted: { readonly slot: Slot; readonly lapse: NodeJS.Timeout }[] = [];
  /** The request that tries whether the provider is back. */
  let trial: Slot | undefined;
  let slowUntilMs = 0;
  const closing = new AbortController();
  const { breaker, openUntilMs } = createBreaker(options);

  function occupy(): Promise<Slot> {
    const { promise, resolve, reject } = Promise.withResolvers<Slot>();
    const held = slots.execute(() => {
      const { promise: left, resolve: leave } = Promise.withResolvers<void>();
      resolve({ left, leave });
      return left;
    });
    held.catch(reject);
    return promise;
  }

  const mayTry = (): boolean => breaker.state !== CircuitState.Closed && unixNowMs() >= openUntilMs();

  function claimTrial(slot: Slot): void {
    if (!mayTry() || trial !== undefined) return;
    trial = slot;
    void slot.left.then(() => {
      trial = undefined;
    });
  }

  async function waitForTurn(): Promise<Turn> {
    await rate.removeTokens(1);
    const countedAtMs = unixNowMs();
    const slot = await occupy();
    for (let waited = 0; waited < MAX_TRIALS_AWAITED && trial !== undefined; waited += 1) await trial.left;
    claimTrial(slot);
    return { slot, countedAtMs };
  }

  /** No request came of it: as long as its second lasts another one may be made instead. */
  function discount({ countedAtMs }: Turn): void {
    const nowMs = unixNowMs();
    // Nor while all wait, for then it is the count that keeps them.
    if (nowMs - countedAtMs < SECOND_MS && nowMs >= slowUntilMs) void limiter.reward(RATE_KEY, 1);
  }

  async function findRoom(): Promise<Slot | undefined> {
    if (slots.executionSlots === 0) return undefined;
    const slot = await occupy();
    try {
      await limiter.consume(RATE_KEY);
      return slot;
    } catch {
      slot.leave();
      return undefined;
    }
  }

  /** undefined: not before the signal, or too many wait already. */
  async function turnBefore(signal: AbortSignal): Promise<Turn | undefined> {
    if (signal.aborted) return undefined;
    const { promise: gaveUp, resolve: giveUp } = Promise.withResolvers<undefined>();
    const abort = (): void => giveUp(undefined);
    signal.addEventListener('abort', abort, { once: true });
    const turn = waitForTurn().catch(() => undefined);
    const had = await Promise.race([turn, gaveUp]);
    signal.removeEventListener('abort', abort);
    if (had === undefined) void turn.then((late) => late?.slot.leave());
    return had;
  }

  return {
    async admit() {
      const turn = await turnBefore(closing.signal);
      if (turn === undefined) return NO_PLACE;
      const { slot } = turn;
      // Whoever enters first takes the place that was kept first, so the one to give back may be gone; then another one is left over.
      const giveBack = (): void => {
        const kept = admitted.indexOf(admission);
        if (kept < 0) return;
        admitted.splice(kept, 1);
        clearTimeout(admission.lapse);
        discount(turn);
        slot.leave();
      };
      const admission = { slot, lapse: setTimeout(giveBack, ADMISSION_MS).unref() };
      admitted.push(admission);
      return { [Symbol.dispose]: giveBack };
    },
    async enter() {
      const admission = admitted.shift();
      clearTimeout(admission?.lapse);
      const slot = admission?.slot ?? (closing.signal.aborted ? undefined : await findRoom());
      if (slot !== undefined) claimTrial(slot);
      return slot && asPlace(slot);
    },
    async reserve(signal) {
      const turn = await turnBefore(AbortSignal.any([signal, closing.signal]));
      return turn && asPlace(turn.slot);
    },
    unavailableForMs() {
      const pauseMs = breaker.state === CircuitState.HalfOpen ? TRIAL_MS : openUntilMs() - unixNowMs();
      if (closing.signal.aborted) return DRAINED_MS;
      return Math.max(breaker.state === CircuitState.Closed ? 0 : pauseMs, slowUntilMs - unixNowMs(), 0);
    },
    breaker() {
      if (breaker.state === CircuitState.Closed) return 'closed';
      return breaker.state === CircuitState.HalfOpen ? 'half-open' : 'open';
    },
    async ask(work) {
      // cockatiel would let it wait for what becomes of the trial.
      if (breaker.state === CircuitState.HalfOpen) return undefined;
      try {
        return await breaker.execute(work);
      } catch (error) {
        if (isBrokenCircuitError(error)) return undefined;
        throw error;
      }
    },
    slowDown(ms) {
      const waitMs = Math.min(ms, MAX_SLOW_DOWN_MS);
      if (waitMs <= 0 || unixNowMs() + waitMs <= slowUntilMs) return;
      slowUntilMs = unixNowMs() + waitMs;
      void limiter.block(RATE_KEY, waitMs / 1_000);
    },
    drain: () => closing.abort(),
    [Symbol.dispose]() {
      closing.abort();
      for (const { lapse } of admitted.splice(0)) clearTimeout(lapse);
    },
  };
}

function createBreaker({ breaker: settings, unixNowMs, onOpen, onClosed }: GuardOptions) {
  const consecutive = new ConsecutiveBreaker(settings.failuresToOpen);
  let refusedUs = false;
  let pauseMs = 0;
  let untilMs = 0;
  const failed = handleWhenResult((judged) => {
    const { health } = judged as Judged;
    if (health === 'refuses-us') refusedUs = true;
    return health !== 'well';
  });
  const breaker = circuitBreaker(failed, {
    breaker: {
      state: undefined,
      success: () => consecutive.success(),
      failure() {
        const opens = consecutive.failure() || refusedUs;
        refusedUs = false;
        return opens;
      },
    },
    halfOpenAfter: new DelegateBackoff(({ attempt, result }) => {
      const { health } = ('value' in result ? result.value : { health: 'failing' }) as Judged;
      const doubledMs = Math.min(settings.firstPauseMs * 2 ** (attempt - 1), settings.maxPauseMs);
      pauseMs = health === 'refuses-us' ? settings.credentialsPauseMs : doubledMs;
      return pauseMs;
    }),
  });
  breaker.onBreak((reason) => {
    untilMs = unixNowMs() + pauseMs;
    onOpen('value' in reason ? (reason.value as Judged).health : 'failing', pauseMs);
  });
  breaker.onReset(onClosed);
  return { breaker, openUntilMs: () => untilMs };
}

/** Gives up on `work`, whose signal is aborted then, after `timeoutMs`: throws cockatiel's TaskCancelledError. */
export function within<T>(timeoutMs: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  return timeout(timeoutMs, { strategy: TimeoutStrategy.Aggressive, abortOnReturn: false }).execute(({ signal }) => work(signal));
}
