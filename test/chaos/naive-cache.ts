/** The cache that everybody writes first, for the checker to find fault with: GET; on a miss SELECT and SET; after COMMIT DEL. */
import { type DescMessage, fromJsonString, type MessageShape, toJsonString } from '@bufbuild/protobuf';
import { Redis } from 'ioredis';
import { ConversationSchema } from '../../gen/messaging/v1/conversation_pb.js';
import { MessageSchema } from '../../gen/messaging/v1/message_pb.js';
import type { openCache } from '../../src/cache/open-cache.ts';
import type { AroundCommit, CachedEntity, Read, Store } from '../../src/domain/ports.ts';

type Load<View> = (ids: readonly string[]) => Promise<Read<ReadonlyMap<string, View>>>;

function naiveReads<Desc extends DescMessage>(
  redis: Redis,
  entity: CachedEntity,
  schema: Desc,
  load: Load<MessageShape<Desc>>,
  ttlMs: number,
) {
  type View = MessageShape<Desc>;
  const find = async (id: string): Promise<Read<View | undefined>> => {
    const key = `${entity}:${id}`;
    const text = await redis.get(key).catch(() => null);
    if (text !== null) return { value: fromJsonString(schema, text), source: 'hit', ageMs: 0 };
    const view = (await load([id])).value.get(id);
    if (view !== undefined) await redis.set(key, toJsonString(schema, view), 'PX', ttlMs).catch(() => undefined);
    return { value: view, source: 'miss', ageMs: 0 };
  };
  const findMany = async (ids: readonly string[]): Promise<Read<ReadonlyMap<string, View>>> => {
    const found = await Promise.all(ids.map(async (id) => [id, (await find(id)).value] as const));
    return { value: new Map(found.flatMap(([id, view]) => (view === undefined ? [] : [[id, view]]))), source: 'hit', ageMs: 0 };
  };
  return { find, findMany };
}

/** In place of openCache. Standalone Redis only. */
export const openNaiveCache: typeof openCache = ({ redis: { topology }, ttlMs }, { reads, store }) => {
  if (topology.kind !== 'standalone') throw new Error('the naive cache knows only one Redis');
  const redis = new Redis({ host: topology.host, port: topology.port, enableAutoPipelining: true });
  redis.on('error', () => undefined);
  const messages = naiveReads(redis, 'message', MessageSchema, reads.findMessages, ttlMs);
  const conversations = naiveReads(redis, 'conversation', ConversationSchema, reads.findConversations, ttlMs);
  const forget: AroundCommit = async (changed) => async () => {
    await Promise.all(changed.map(({ entity, id }) => redis.del(`${entity}:${id}`).catch(() => undefined)));
  };
  const transaction: Store['transaction'] = (work) => store.transaction(work, forget);
  return {
    reads: {
      ...reads,
      findMessage: messages.find,
      findMessages: messages.findMany,
      findConversation: conversations.find,
      findConversations: conversations.findMany,
    },
    store: { transaction },
    ping: async () => void (await redis.ping()),
    [Symbol.asyncDispose]: async () => redis.disconnect(),
  };
};
