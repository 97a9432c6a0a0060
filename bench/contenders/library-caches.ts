/** Caching libraries as their documentation sets them up for a shared Redis, in front of the bare driver's query. */
import { fromJson, type JsonValue, toJson } from '@bufbuild/protobuf';
import KeyvRedis from '@keyv/redis';
import { BentoCache, bentostore } from 'bentocache';
import { memoryDriver } from 'bentocache/drivers/memory';
import { redisBusDriver, redisDriver } from 'bentocache/drivers/redis';
import { Cacheable } from 'cacheable';
import { Keyv } from 'keyv';
import { MessageSchema } from '../../gen/messaging/v1/message_pb.js';
import type { Find } from './sources.ts';

export interface LibraryOptions {
  readonly host: string;
  readonly port: number;
  /** Where a miss is answered from. */
  readonly load: Find;
  /** An answer from it may be old: what changes a row does not tell this process. */
  readonly memory: boolean;
}

const TTL = '5m';

/** What the libraries store is JSON, as everywhere else here. */
type LoadJson = (id: string) => Promise<JsonValue>;
const jsonLoader =
  (load: Find): LoadJson =>
  async (id) =>
    toJson(MessageSchema, await load(id));

export function openBentocache({ host, port, load, memory }: LibraryOptions): Find {
  const connection = { host, port, enableAutoPipelining: true };
  const redis = redisDriver({ connection });
  const store = memory
    ? bentostore().useL1Layer(memoryDriver()).useL2Layer(redis).useBus(redisBusDriver({ connection }))
    : bentostore().useL2Layer(redis);
  const cache = new BentoCache({ default: 'messages', stores: { messages: store }, ttl: TTL });
  const loadJson = jsonLoader(load);
  return async (id) => fromJson(MessageSchema, await cache.getOrSet({ key: id, factory: () => loadJson(id) }));
}

export function openCacheable({ host, port, load, memory }: LibraryOptions): Find {
  const redis = new Keyv({ store: new KeyvRedis(`redis://${host}:${port}`), namespace: memory ? 'two-tier' : 'one-tier' });
  const cache = new Cacheable({ ...(memory ? { secondary: redis } : { primary: redis }), ttl: TTL });
  const loadJson = jsonLoader(load);
  return async (id) => fromJson(MessageSchema, (await cache.getOrSet(id, () => loadJson(id))) ?? null);
}
