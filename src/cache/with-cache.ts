import { ConversationSchema } from '../../gen/messaging/v1/conversation_pb.js';
import { MessageSchema } from '../../gen/messaging/v1/message_pb.js';
import type { AroundCommit, CachedEntity, Reads, RowChange, Store, Tx } from '../domain/ports.ts';
import { type ConversationView, type MessageView, versionOf } from '../domain/views.ts';
import { createAsk } from './ask.ts';
import { type Cell, cellCodec } from './cell.ts';
import { type CachedRows, type CacheParts, type CellCache, type CellCacheParts, createCellCache } from './cell-cache.ts';
import { createLoadQueue } from './load-queue.ts';
import { createLocalAnswers, type LocalAnswers } from './local-answers.ts';
import { createDoorkeeper, type PolicyOptions, placeConversation, placeMessage, withJitter } from './policy.ts';
import { createSelfCheck } from './self-check.ts';
import { createWriteScope, type StoredValue } from './write-scope.ts';

export interface CacheOptions extends PolicyOptions {
  readonly compressFromBytes: number;
  readonly maxValueBytes: number;
  /** For answers remembered in this process; 0: none. */
  readonly localBytes: number;
  /** A write puts the new row into the cache where readers have been asking for it. */
  readonly writeThrough: boolean;
  /** Statements at once for rows that the cache does not have, per entity. */
  readonly loadConcurrency: number;
  /** Share of hits that are compared with their row. */
  readonly verifyRatio: number;
}

export interface Cached extends AsyncDisposable {
  readonly reads: Reads;
  readonly store: Store;
  /** Ids that this process has read lately, the latest first. */
  recentIds(entity: CachedEntity): Iterable<string>;
  /** Loads and stores what is absent. Returns how many; undefined: Redis could not be asked. */
  warm(entity: CachedEntity, ids: readonly string[]): Promise<number | undefined>;
  /** What a cell is, beside its row in PostgreSQL. */
  compare(entity: CachedEntity, id: string, bytes: Buffer | null): Promise<Comparison>;
}

export interface Comparison {
  readonly kind: Cell<unknown>['kind'];
  /** 0 for all but a value. */
  readonly cachedVersion: number;
  /** 0: there is no such row. */
  readonly rowVersion: number;
  /** The cell says what PostgreSQL says. */
  readonly equal: boolean;
}

/** Fills that nobody waits for; what they would have stored is loaded again when it is asked for. */
const CLOSE_PATIENCE_MS = 500;

interface Layer<View> {
  readonly cache: CellCache<View>;
  readonly local: LocalAnswers<View>;
  cellFor(view: View): StoredValue | undefined;
  compare(id: string, bytes: Buffer | null): Promise<Comparison>;
}

type Load<View> = (ids: readonly string[]) => Promise<ReadonlyMap<string, View>>;

function createLayer<View>(rows: CachedRows<View>, load: Load<View>, options: CacheOptions, parts: CacheParts): Layer<View> {
  const { commands, keys, nowMs, random, unixNowMs } = parts;
  const loads = createLoadQueue({ load, concurrency: options.loadConcurrency, nowMs });
  const local = createLocalAnswers<View>(options.localBytes);
  const { name, codec } = rows;
  const keyOf = (id: string): string => keys.of(name, id);
  const selfCheck = createSelfCheck({ ...parts, rate: options.verifyRatio, codec, versionOf: rows.versionOf, keyOf, loads, commands });
  const cellParts: CellCacheParts<View> = {
    ...parts,
    rows,
    ask: createAsk(parts),
    loads,
    local,
    selfCheck,
    policy: options,
    doorkeeper: createDoorkeeper(options.doorkeeperMs),
  };
  return {
    cache: createCellCache(cellParts),
    local,
    cellFor(view) {
      const ttlMs = withJitter(rows.place(view).ttlMs, random());
      const version = rows.versionOf(view);
      const cell = codec.encodeValue(version, view, unixNowMs() + ttlMs);
      return cell && { version, cell, ttlMs };
    },
    async compare(id, bytes) {
      const cell = codec.decode(bytes);
      const row = (await load([id])).get(id);
      const rowVersion = row === undefined ? 0 : rows.versionOf(row);
      if (cell.kind !== 'value') return { kind: cell.kind, cachedVersion: 0, rowVersion, equal: cell.kind === 'negative' && !row };
      const equal = row !== undefined && cell.version === rowVersion && codec.equals(cell.view, row);
      return { kind: cell.kind, cachedVersion: cell.version, rowVersion, equal };
    },
  };
}

/** Runs both around one COMMIT: the inner first before it, the outer first after it. */
function nested(outer: AroundCommit | undefined, inner: AroundCommit): AroundCommit {
  if (outer === undefined) return inner;
  return async (changed, tx) => {
    const outerAfter = await outer(changed, tx);
    const innerAfter = await inner(changed, tx);
    return async () => {
      await innerAfter();
      await outerAfter();
    };
  };
}

/**
 * Puts Redis in front of single rows: reads of them are linearizable through every process while Redis is well. Lists, searches and
 * counts go to the database as before; so does everything while Redis cannot be trusted.
 */
export function withCache(database: { readonly reads: Reads; readonly store: Store }, options: CacheOptions, parts: CacheParts): Cached {
  const { reads, store } = database;
  const codecOptions = { compressFromBytes: options.compressFromBytes, maxBytes: options.maxValueBytes };
  const messages = createLayer<MessageView>(
    { name: 'message', codec: cellCodec(MessageSchema, codecOptions), versionOf, place: (view) => placeMessage(view, options) },
    async (ids) => (await reads.findMessages(ids)).value,
    options,
    parts,
  );
  const conversations = createLayer<ConversationView>(
    {
      name: 'conversation',
      codec: cellCodec(ConversationSchema, codecOptions),
      versionOf,
      place: (view) => placeConversation(view, options, parts.unixNowMs()),
    },
    async (ids) => (await reads.findConversations(ids)).value,
    options,
    parts,
  );
  const cellFor = async ({ entity, id }: RowChange, tx: Tx): Promise<StoredValue | undefined> => {
    if (!options.writeThrough) return undefined;
    return entity === 'message' ? messages.cellFor(await tx.messageView(id)) : conversations.cellFor(await tx.conversationView(id));
  };
  const layerOf = (entity: CachedEntity) => (entity === 'message' ? messages : conversations);
  const writeScope = createWriteScope({ ...parts, ask: createAsk(parts), cellFor });
  return {
    reads: {
      ...reads,
      findMessage: messages.cache.find,
      findMessages: messages.cache.findMany,
      findConversation: conversations.cache.find,
      findConversations: conversations.cache.findMany,
    },
    store: { transaction: (work, aroundCommit) => store.transaction(work, nested(aroundCommit, writeScope)) },
    recentIds: (entity) => layerOf(entity).local.ids(),
    warm: (entity, ids) => layerOf(entity).cache.warm(ids),
    compare: (entity, id, bytes) => layerOf(entity).compare(id, bytes),
    async [Symbol.asyncDispose]() {
      await Promise.race([Promise.all([messages.cache.idle(), conversations.cache.idle()]), parts.wait(CLOSE_PATIENCE_MS)]);
    },
  };
}
