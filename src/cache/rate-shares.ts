/** Shares of rate limits, counted in Redis for all processes; while it does not answer, in this one. */
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import { connectPlainRedis, type RedisOptions } from './redis.ts';

export interface RateShareOptions {
  /** undefined: every process counts by itself. */
  readonly redis: RedisOptions | undefined;
  readonly keyPrefix: string;
}

export interface Rate {
  readonly calls: number;
  readonly seconds: number;
}

export interface RateShares extends AsyncDisposable {
  /** Gives up to `wanted` of the calls that are left of `rate` in this window, to whoever asks first. Never rejects. */
  take(key: string, rate: Rate, wanted: number): Promise<{ readonly granted: number; readonly windowMs: number }>;
}

export function openRateShares({ redis, keyPrefix }: RateShareOptions): RateShares {
  const connection = redis && connectPlainRedis(redis);
  const limiters = new Map<string, RateLimiterMemory | RateLimiterRedis>();

  function limiterOf({ calls, seconds }: Rate): RateLimiterMemory | RateLimiterRedis {
    const name = `${calls}/${seconds}`;
    const known = limiters.get(name);
    if (known !== undefined) return known;
    const options = { keyPrefix: `${keyPrefix}rate`, points: calls, duration: seconds };
    const insuranceLimiter = new RateLimiterMemory(options);
    const limiter =
      connection === undefined
        ? insuranceLimiter
        : new RateLimiterRedis({ ...options, storeClient: connection.client, rejectIfRedisNotReady: true, insuranceLimiter });
    limiters.set(name, limiter);
    return limiter;
  }

  return {
    async take(key, rate, wanted) {
      const counted = await limiterOf(rate)
        .consume(key, wanted)
        .catch((refused: unknown) => refused);
      // Neither Redis nor memory could count: nobody is refused for that.
      if (!(counted instanceof RateLimiterRes)) return { granted: wanted, windowMs: rate.seconds * 1_000 };
      const before = counted.consumedPoints - wanted;
      return { granted: Math.max(0, Math.min(wanted, rate.calls - before)), windowMs: counted.msBeforeNext };
    },
    async [Symbol.asyncDispose]() {
      connection?.close();
    },
  };
}
