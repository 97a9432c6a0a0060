/** What the centre needs from outside. db/ and cache/ implement Store and Reads; test/contract runs one suite on every implementation. */

import type { Channel } from './address.ts';
import type { Conversation, ConversationFields, ConversationStatus, Participants } from './conversation.ts';
import type { Direction, Message, MessageFields, MessageStatus, MessageType, Provider } from './message.ts';
import type { MessageEvent, MessageEventFields } from './message-event.ts';
import type { ConversationView, MessageEventView, MessageView, StatisticsView } from './views.ts';

export interface Clock {
  now(): Date;
}

/** A new UUIDv7 in lower case. */
export type NewId = () => string;

/** Where an answer came from: Redis, PostgreSQL after Redis had none, PostgreSQL past Redis. */
export type ReadSource = 'hit' | 'miss' | 'bypass';

export interface Read<T> {
  readonly value: T;
  readonly source: ReadSource;
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
  findMessage(id: string): Promise<Read<MessageView | undefined>>;
  /** Unknown ids are absent from the map. */
  findMessages(ids: readonly string[]): Promise<Read<ReadonlyMap<string, MessageView>>>;
  findConversation(id: string): Promise<Read<ConversationView | undefined>>;
  findConversations(ids: readonly string[]): Promise<Read<ReadonlyMap<string, ConversationView>>>;
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

/** A row that a transaction wrote; what a cache in front must forget. */
export interface RowRef {
  readonly entity: 'message' | 'conversation';
  readonly id: string;
}

/** Called by Store around COMMIT; for wrappers, never for services. */
export interface TransactionHooks {
  /** The transaction is committed. Must not throw: the write has succeeded. */
  afterCommit?(changed: readonly RowRef[]): Promise<void>;
}

export interface Store {
  /**
   * Runs `work` in one transaction and commits. Repeated from the start when PostgreSQL reports a deadlock or a serialization
   * failure, so `work` must have no effect outside `tx`. Throws storage_unavailable when PostgreSQL cannot be reached; when that
   * happens during COMMIT the outcome is unknown.
   */
  transaction<T>(work: (tx: Tx) => Promise<T>, hooks?: TransactionHooks): Promise<T>;
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
export interface Tx {
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
