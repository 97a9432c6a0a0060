/** The sign that the relay keeps up: while it stands, whatever was committed before has been applied to the cells. */

export interface Watermark {
  /** The Redis that the relay applied the changes to: run ids of its masters. */
  readonly runIds: string;
  /** The PostgreSQL that the changes were committed in. */
  readonly databaseIdentity: string;
}

export interface WatermarkCommands {
  /** Time in ms by the clock of the Redis that holds the watermark. */
  redisTimeMs(key: string): Promise<number>;
  /** `untilMs` by that same clock: a relay that was paused in between publishes what has run out already. */
  publishWatermark(key: string, watermark: Watermark, untilMs: number): Promise<void>;
  dropWatermark(key: string): Promise<void>;
  /** With the time it has left. */
  findWatermark(key: string): Promise<(Watermark & { readonly ttlMs: number }) | undefined>;
}

/** Scripts, for a cluster sends them to the node that has the key. */
export const watermarkScripts = {
  watermarkTime: { lua: `local now = redis.call('TIME') return now[1] * 1000 + math.floor(now[2] / 1000)`, numberOfKeys: 1 },
  watermarkFind: { lua: `return { redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]) }`, numberOfKeys: 1 },
} as const;

/** What of an ioredis client is used here. */
export interface WatermarkClient {
  watermarkTime(key: string): Promise<number>;
  watermarkFind(key: string): Promise<readonly [string | null, number]>;
  set(key: string, value: string, pxat: 'PXAT', atMs: number): Promise<unknown>;
  del(key: string): Promise<number>;
}

export function watermarkCommands(client: WatermarkClient): WatermarkCommands {
  return {
    redisTimeMs: (key) => client.watermarkTime(key),
    async publishWatermark(key, { runIds, databaseIdentity }, untilMs) {
      await client.set(key, `${runIds}|${databaseIdentity}`, 'PXAT', untilMs);
    },
    async dropWatermark(key) {
      await client.del(key);
    },
    async findWatermark(key) {
      const [text, ttlMs] = await client.watermarkFind(key);
      if (text === null || ttlMs <= 0) return undefined;
      const [runIds = '', databaseIdentity = ''] = text.split('|', 2);
      return { runIds, databaseIdentity, ttlMs };
    },
  };
}
