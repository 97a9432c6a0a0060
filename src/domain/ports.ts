/** What the centre needs from outside. db/ and cache/ implement Store and Reads; test/contract runs one suite on every implementation. */

import type { Channel } from './address.ts';
import type { Conversation, ConversationFields, ConversationStatus, Participants } from './conversation.ts';
import type { DeliveryTx, Outgoing } from './delivery-ports.ts';
import type { Direction, FailureReason, Message, MessageFields, MessageStatus, MessageType, Provider } from './message.ts';
import type { MessageEvent, MessageEventFields } from './message-event.ts';
import type { SuppressionTx } from './suppression-ports.ts';
import type { ConversationView, MessageEventView, MessageView, StatisticsView } from './views.ts';
import type { WebhookTx } from './webhook-ports.ts';

export interface Clock {
  now(): Date;
}

/** A new UUIDv7 in lower case. */
export type NewId = () => string;

/** Where an answer came from: Redis, this process's memory, PostgreSQL after Redis had none, PostgreSQL past Redis. */
export type ReadSource = 'hit' | 'hit-local' | 'miss' | 'bypass';

export interface Read<T> {
  readonly value: T;
  readonly source: ReadSource;
  /** The answer was current this long before it was given, and may have been overtaken since. 0 for all but `hit-local`. */
  readonly ageMs: number;
}

export interface ReadOptions {
  /** How old an answer the caller accepts, in ms. 0, the default: never older than the last acknowledged write. */
  readonly maxStalenessMs?: number;
}

/** Keyset position: the last item of the page before. `key` is what the list is ordered by, as text. */
export interface Cursor {
  readonly key: string;
  readonly id: string;
}

export interface PageRequest {
  /** 1 to 200. */
  readonly size: number;
  readonly after?: Cursor;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** undefined on the last page. */
  readonly next?: Cursor;
}

/** Set fields are ANDed, values of one field ORed; an empty list does not restrict. */
export interface MessageFilter {
  readonly conversationIds: readonly string[];
  readonly statuses: readonly MessageStatus[];
  readonly messageTypes: readonly MessageType[];
  readonly direction?: Direction;
  /** Address key, see address.ts. */
  readonly address?: string;
  readonly parentId?: string;
  readonly createdAfter?: Date;
  readonly createdBefore?: Date;
  readonly providerMessageId?: string;
  /** Of FAILED messages. */
  readonly failureReasons: readonly FailureReason[];
}

export interface ConversationFilter {
  /** Address key, see address.ts. */
  readonly participant?: string;
  readonly channelType?: Channel;
  readonly statuses: readonly ConversationStatus[];
  readonly unreadOnly: boolean;
  readonly activeAfter?: Date;
}

export interface ConversationMatch {
  readonly conversation: ConversationView;
  /** The best matching message; undefined when title or participants matched better. */
  readonly messageId: string | undefined;
  /** Text around the match, without markup. */
  readonly snippet: string;
}

/** Reads outside a transaction. Every method throws storage_unavailable when PostgreSQL cannot answer; never an empty answer. */
export interface Reads {
  findMessage(id: string, options?: ReadOptions): Promise<Read<MessageView | undefined>>;
  /** Unknown ids are absent from the map. */
  findMessages(ids: readonly string[], options?: ReadOptions): Promise<Read<ReadonlyMap<string, MessageView>>>;
  findConversation(id: string, options?: ReadOptions): Promise<Read<ConversationView | undefined>>;
  findConversations(ids: readonly string[], options?: ReadOptions): Promise<Read<ReadonlyMap<string, ConversationView>>>;
  /** Newest first. */
  listMessages(filter: MessageFilter, page: PageRequest): Promise<Page<MessageView>>;
  /** Oldest first. */
  listMessageEvents(messageId: string, page: PageRequest): Promise<Page<MessageEventView>>;
  /** Most recently active first. */
  listConversations(filter: ConversationFilter, page: PageRequest): Promise<Page<ConversationView>>;
  /** Best match first. */
  searchConversations(query: string, filter: ConversationFilter, page: PageRequest): Promise<Page<ConversationMatch>>;
  conversationStatistics(conversationId: string): Promise<StatisticsView>;
  /** Id of the open conversation that a message between these addresses would join. */
  findOpenConversationId(participants: Participants): Promise<string | undefined>;
}

/** What is cached, one entry a row. */
export type CachedEntity = 'message' | 'conversation';

/** Rows by how long their entries live: messages under way and done, conversations written often and seldom. */
export type CacheTier = 'in_flight' | 'terminal' | 'busy' | 'quiet';

/** A row that a transaction inserted, changed or deleted, by whatever statement. */
export interface RowChange {
  readonly entity: CachedEntity;
  readonly id: string;
  /** The row's version afterwards; of a deleted row the one after its last. */
  readonly version: number;
  readonly deleted: boolean;
}

/**
 * Called by Store for wrappers, never for services: with everything the transaction changed, when it is written, all row locks are held
 * and COMMIT is next. What it returns runs once COMMIT has succeeded and before the write is acknowledged; never when the outcome of
 * COMMIT is unknown. Neither may throw: the write does not depend on them.
 */
export type AroundCommit = (changed: readonly RowChange[], tx: Tx) => Promise<() => Promise<void>>;

export interface Store {
  /**
   * Runs `work` in one transaction and commits. Repeated from the start when PostgreSQL reports a deadlock or a serialization
   * failure, so `work` must have no effect outside `tx`. Throws storage_unavailable when PostgreSQL cannot be reached; when that
   * happens during COMMIT the outcome is unknown.
   */
  transaction<T>(work: (tx: Tx) => Promise<T>, aroundCommit?: AroundCommit): Promise<T>;
}

/** One committed transaction's change of one row, until somebody removes it. */
export interface OutboxChange {
  readonly transactionId: string;
  readonly entity: CachedEntity;
  /** undefined: every row of the entity (TRUNCATE). */
  readonly id: string | undefined;
  readonly version: number;
  /** Time since the change was made. */
  readonly ageMs: number;
}

/** The right to read the outbox; one process at a time has it. Every method throws when it is lost. */
export interface OutboxLease extends AsyncDisposable {
  /** Names the PostgreSQL cluster and its timeline: another one may lack changes that this one had committed. */
  readonly databaseIdentity: string;
  /** Changes of transactions that have committed, in no particular order, those of long ones included. */
  read(limit: number): Promise<readonly OutboxChange[]>;
  remove(changes: readonly OutboxChange[]): Promise<void>;
  /** Name of the cache to which all removed changes have been applied; empty at first. */
  appliedTo(): Promise<string>;
  setAppliedTo(cache: string): Promise<void>;
}

/** Every change of a message or conversation, whoever made it, written by triggers in the transaction that made it. */
export interface Outbox {
  /** undefined while another process holds the lease. It ends with its connection, and when it is not used for 5 s. */
  tryLease(): Promise<OutboxLease | undefined>;
  /** What waits in it, age of the oldest included. */
  backlog(): Promise<{ readonly rows: number; readonly oldestMs: number }>;
}

/** What reads came to, and what was written and dropped. */
export interface CacheCounts {
  readonly hits: number;
  readonly localHits: number;
  /** Cached that there is no such row. */
  readonly negativeHits: number;
  readonly misses: number;
  readonly bypasses: number;
  readonly sets: number;
  readonly invalidations: number;
}

export interface CacheCountsBy {
  readonly entities: ReadonlyMap<CachedEntity, CacheCounts>;
  /** Rows that do not exist are in no tier. */
  readonly tiers: ReadonlyMap<CacheTier, CacheCounts>;
}

/** Of this process, since it started. */
export interface CoherenceCounts {
  readonly settled: Readonly<Record<'stored' | 'dropped' | 'left' | 'failed', number>>;
  readonly marksFailed: number;
  readonly verified: Readonly<Record<'match' | 'mismatch' | 'superseded', number>>;
  readonly flushes: number;
}

export interface CacheState {
  readonly total: CacheCountsBy;
  /** One for each that was asked for, in that order. */
  readonly windows: readonly (CacheCountsBy & { readonly windowMs: number })[];
  readonly coherence: CoherenceCounts;
  readonly trusted: boolean;
  /** undefined: PostgreSQL does not answer. */
  readonly backlog: { readonly rows: number; readonly oldestMs: number } | undefined;
  /** undefined: Redis does not answer. */
  readonly memory: { readonly usedBytes: number; readonly maxBytes: number; readonly evictionPolicy: string } | undefined;
  /** What endangers memory or coherence, in words. */
  readonly warnings: readonly string[];
}

/** A cached entry beside its row, both as of one moment unless they change all the time. */
export interface CacheEntry {
  readonly kind: 'absent' | 'value' | 'negative' | 'lease' | 'mark' | 'foreign';
  readonly key: string;
  /** 0 for all but a value. */
  readonly cachedVersion: number;
  /** 0: there is no such row. */
  readonly rowVersion: number;
  readonly bytes: number;
  readonly ttlMs: number | undefined;
  /** Of a lease or mark; of others nobody knows it. */
  readonly ageMs: number | undefined;
  readonly equal: boolean;
}

/** For operators. All but `state` throw cache_unavailable when Redis does not answer. */
export interface CacheAdmin {
  /** `windowsMs`: at most an hour each. */
  state(windowsMs: readonly number[]): Promise<CacheState>;
  inspect(entity: CachedEntity, id: string): Promise<CacheEntry>;
  /** Returns how many entries there were. */
  invalidate(entity: CachedEntity, ids: readonly string[]): Promise<number>;
  /** Every entry of the entity; throws the signal's reason when it is aborted. */
  invalidateAll(entity: CachedEntity, signal: AbortSignal): Promise<number>;
  /** What this process has read lately, most recent first. */
  recentIds(entity: CachedEntity): Iterable<string>;
  /** Loads and stores what is not there. Returns how many that was. Throws cache_unavailable when not trusted, too. */
  warm(entity: CachedEntity, ids: readonly string[]): Promise<number>;
}

/** `claimed`: the id is ours now. `replay`: an earlier call did the same. `reused`: an earlier call did something else. */
export type RequestClaim = { readonly outcome: 'claimed' } | { readonly outcome: 'replay' | 'reused'; readonly resourceId: string };

export interface RequestKey {
  readonly caller: string;
  readonly requestId: string;
  /** Digest of operation and content. */
  readonly contentHash: string;
  /** Id of what the call creates. */
  readonly resourceId: string;
  readonly at: Date;
}

/** The message's place in its conversation, counted in the same statement that takes the row lock. */
export interface Appended {
  readonly conversationId: string;
  /** Sequence number for the event. */
  readonly sequence: number;
}

/**
 * One running transaction. Conversation rows are locked before message rows, so that transactions cannot wait for each other in a
 * circle. Entities are changed in place and written at commit.
 */
export interface Tx extends DeliveryTx, SuppressionTx, WebhookTx<Tx> {
  /** Waits until no other transaction holds this name; held until the end of this one. */
  lockName(name: string): Promise<void>;
  /** Waits for a running transaction with the same key. Keys are forgotten after 7 days. */
  claimRequest(key: RequestKey): Promise<RequestClaim>;
  /** Counts one new message into the open conversation of these addresses, creating it from `fresh` when there is none. */
  appendToOpen(fresh: ConversationFields, direction: Direction, at: Date): Promise<Appended>;
  /** Counts one new message into this conversation; undefined when it does not exist or is CLOSED. */
  appendToExisting(conversationId: string, direction: Direction, at: Date): Promise<Appended | undefined>;
  /** Takes the next sequence number for an event about an existing message; undefined when both were deleted in between. */
  nextSequence(conversationId: string): Promise<number | undefined>;
  /** The open conversation of the same addresses, threads left out. */
  findOpenConversation(pair: Pick<ConversationFields, 'channelType' | 'fromKey' | 'toKey'>): Promise<Conversation | undefined>;
  /** Returns the open conversation of the pair, locked, or inserts `fresh`. */
  getOrCreateConversation(fresh: ConversationFields): Promise<{ readonly conversation: Conversation; readonly created: boolean }>;
  addConversation(fresh: ConversationFields): Conversation;
  addMessage(fields: MessageFields): Message;
  addEvent(fields: MessageEventFields): MessageEvent;
  /**
   * Writes a message, its first event and, of one that goes out, its job at once. For messages that this transaction does not change;
   * others are added as entities. Returns since when the recipient of one that goes out has been suppressed: then it must not commit.
   */
  storeMessage(message: MessageFields, first: MessageEventFields, outgoing?: Outgoing): Promise<Date | undefined>;
  findConversation(id: string): Promise<Conversation | undefined>;
  lockConversation(id: string): Promise<Conversation | undefined>;
  findMessage(id: string): Promise<Message | undefined>;
  lockMessage(id: string): Promise<Message | undefined>;
  findMessageByProviderId(provider: Provider, providerMessageId: string): Promise<Message | undefined>;
  findEventByProviderId(provider: Provider, providerEventId: string): Promise<MessageEvent | undefined>;
  countInboundAfter(conversationId: string, sequence: number): Promise<number>;
  /** With its messages and their history. */
  deleteConversation(conversation: Conversation): Promise<void>;
  /** Writes pending changes and reads the row back, with what triggers made of it. */
  messageView(id: string): Promise<MessageView>;
  conversationView(id: string): Promise<ConversationView>;
}
