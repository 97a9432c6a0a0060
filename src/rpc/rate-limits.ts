/**
 * How many calls of a method a caller may make. A process takes shares of a limit ahead from where it is counted for all, so that most calls
 * are decided here and now; no more than the limit is given away in a window of time, whoever asks.
 */
import type { ConnectError } from '@connectrpc/connect';
import type { AccessControl } from './access-control.ts';
import type { Call } from './call.ts';
import { errorWith } from './errors.ts';
import { governedMethods, isOpen } from './policy.ts';

export interface RateRule {
  /** `*`: every caller by itself. */
  readonly caller: string;
  /** `SendMessage`; `*`: every method by itself. */
  readonly method: string;
  readonly calls: number;
  readonly seconds: number;
}

export interface Share {
  /** Calls that this process may let in; 0: no more are left. */
  readonly granted: number;
  /** Until the next window. */
  readonly windowMs: number;
}

export interface RateLimitParts {
  /** Never rejects. `key` names caller and method. */
  readonly takeShare: (key: string, rule: RateRule, wanted: number) => Promise<Share>;
  readonly nowMs: () => number;
}

interface Bucket {
  readonly key: string;
  readonly rule: RateRule;
  readonly portion: number;
  /** Calls that may still be let in, until the window ends. */
  left: number;
  endsMs: number;
  /** Nothing is left anywhere before. */
  refusedUntilMs: number;
  waiting: number;
  taking: Promise<void> | undefined;
}

/** What a process takes at once. A larger one asks less often, and leaves more unused where another process would need it. */
const PORTIONS = 20;
/** A call that lost the race for a share this often is refused. */
const MAX_ROUNDS = 20;
const MAX_BUCKETS = 10_000;

/** The rule for a caller and method: of that very pair, else of the caller, else of the method, else of all. */
export function ruleFor(rules: readonly RateRule[], caller: string, method: string): RateRule | undefined {
  const find = (byCaller: string, byMethod: string) => rules.find((rule) => rule.caller === byCaller && rule.method === byMethod);
  return find(caller, method) ?? find(caller, '*') ?? find('*', method) ?? find('*', '*');
}

/** Throws for a rule about a method that there is not: a misspelt one would limit nothing. */
function checkMethods(rules: readonly RateRule[]): void {
  const names = new Set(governedMethods().map((method) => method.split('/')[1]));
  const unknown = rules.find(({ method }) => method !== '*' && !names.has(method));
  if (unknown !== undefined) throw new Error(`RATE_LIMITS: there is no method ${unknown.method}`);
}

function refusal({ rule, refusedUntilMs }: Bucket, method: string, nowMs: number): ConnectError {
  const { calls, seconds } = rule;
  return errorWith('rate_limited', `more than ${calls} calls of ${method} in ${seconds} s; try again later`, {
    metadata: { limit: String(calls), window: `${seconds}s` },
    retryAfterMs: Math.max(1, Math.ceil(refusedUntilMs - nowMs)),
  });
}

/** Counts the calls that `access` lets in. What is open to all is not limited: probes have no name to be told apart by. */
export function limitAccess(access: AccessControl, rules: readonly RateRule[], { takeShare, nowMs }: RateLimitParts): AccessControl {
  checkMethods(rules);
  /** By caller and method. */
  const buckets = new Map<string, Map<string, Bucket | undefined>>();
  let made = 0;

  function bucketOf(caller: string, method: string): Bucket | undefined {
    const own = buckets.get(caller) ?? new Map<string, Bucket | undefined>();
    if (own.has(method)) return own.get(method);
    // Whoever still calls takes a new share.
    if (made >= MAX_BUCKETS) {
      buckets.clear();
      made = 0;
    }
    const rule = ruleFor(rules, caller, method);
    const counts = { left: 0, endsMs: 0, refusedUntilMs: 0, waiting: 0, taking: undefined };
    own.set(method, rule && { key: `${caller}:${method}`, rule, portion: Math.ceil(rule.calls / PORTIONS), ...counts });
    buckets.set(caller, own);
    made += 1;
    return own.get(method);
  }

  async function takeMore(bucket: Bucket): Promise<void> {
    const { key, rule, portion, waiting } = bucket;
    const { granted, windowMs } = await takeShare(key, rule, Math.min(rule.calls, Math.max(portion, waiting)));
    const endsMs = nowMs() + windowMs;
    // A share of the next window comes while some of this one is left: that is forfeit, or the next would be too large.
    bucket.left = granted + (endsMs - bucket.endsMs > windowMs / 2 ? 0 : bucket.left);
    bucket.endsMs = endsMs;
    if (granted === 0) bucket.refusedUntilMs = endsMs;
    bucket.taking = undefined;
  }

  const more = (bucket: Bucket): Promise<void> => {
    bucket.taking ??= takeMore(bucket);
    return bucket.taking;
  };

  /** undefined: there is none to take, or refuse, here and now. */
  function takeNow(bucket: Bucket, method: string): 'taken' | ConnectError | undefined {
    const now = nowMs();
    if (now >= bucket.endsMs) bucket.left = 0;
    if (bucket.left > 0) {
      bucket.left -= 1;
      if (bucket.left < bucket.portion / 2 && now >= bucket.refusedUntilMs) void more(bucket);
      return 'taken';
    }
    return now < bucket.refusedUntilMs ? refusal(bucket, method, now) : undefined;
  }

  async function takeLater(bucket: Bucket, method: string): Promise<ConnectError | undefined> {
    bucket.waiting += 1;
    try {
      for (let round = 0; round < MAX_ROUNDS; round += 1) {
        await more(bucket);
        const taken = takeNow(bucket, method);
        if (taken !== undefined) return taken === 'taken' ? undefined : taken;
      }
      return refusal(bucket, method, nowMs());
    } finally {
      bucket.waiting -= 1;
    }
  }

  function take({ caller, endpoint }: Call): ConnectError | undefined | Promise<ConnectError | undefined> {
    const method = endpoint.method?.name;
    if (method === undefined || isOpen(endpoint.name)) return undefined;
    const bucket = bucketOf(caller, method);
    if (bucket === undefined) return undefined;
    const taken = takeNow(bucket, method);
    if (taken === undefined) return takeLater(bucket, method);
    return taken === 'taken' ? undefined : taken;
  }

  return {
    accessOf: access.accessOf,
    admit(call) {
      const refused = access.admit(call);
      return refused instanceof Promise ? refused.then((found) => found ?? take(call)) : (refused ?? take(call));
    },
  };
}
