/** What watching needs from outside: the logs of what has changed. ARCHITECTURE.md, watching, says why their order can be trusted. */
import type { Channel } from './address.ts';
import type { LogPlace, Placed } from './log-place.ts';
import type { MessageEventView } from './views.ts';

/** Whose log it is. Places mean nothing in another database. */
export interface LogOrigin {
  /** The cluster and the database in it. */
  readonly database: string;
  /** Another one after every failover: what the old primary had last may be lost, and its numbers given out again. */
  readonly timeline: string;
}

/** What was so when a log was read. */
export interface LogMoment {
  readonly origin: LogOrigin;
  /** Entries before this transaction id are final: all of them that will ever be have been written. */
  readonly horizon: bigint;
  /** What is at or before it may have been removed. */
  readonly begin: LogPlace;
}

export interface LogPage<Entry> extends LogMoment {
  /** In order; only final ones. */
  readonly entries: readonly Entry[];
  /** The last of them; where the page began when there is none. */
  readonly next: LogPlace;
  readonly isFull: boolean;
}

/** Every method throws storage_unavailable. */
export interface LogReader<Entry> {
  /** `end`: the last final entry. */
  tail(): Promise<LogMoment & { readonly end: LogPlace }>;
  read(after: LogPlace, limit: number): Promise<LogPage<Entry>>;
  /** Whether there is an entry at this place, or was one that has been removed for its age. */
  has(place: LogPlace): Promise<boolean>;
}

export interface MessageLogEntry extends Placed {
  readonly conversationId: string;
  readonly event: MessageEventView;
}

/** What of a conversation never changes, and can be asked for after it is gone. */
export interface DeletedConversation {
  readonly id: string;
  readonly fromKey: string;
  readonly toKey: string;
  readonly channelType: Channel;
}

export interface ConversationLogEntry extends Placed {
  readonly conversationId: string;
  /** undefined: inserted or updated. */
  readonly deleted: DeletedConversation | undefined;
}

export interface ChangeLog {
  /** The history of all messages. It goes only with its conversations. */
  readonly messages: LogReader<MessageLogEntry>;
  readonly conversations: LogReader<ConversationLogEntry>;
  /**
   * Removes up to `limit` entries that were logged before this time. Returns how many. Tokens are good for 7 days, so keep 8: a place that
   * a long transaction holds back is older than its token. Throws storage_unavailable.
   */
  pruneConversationLog(before: Date, limit: number): Promise<number>;
}
