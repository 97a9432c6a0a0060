import type { ConversationFilter, Cursor, PageRequest, Reads } from '../domain/ports.ts';
import { conversationMatcher, deletedMatcher } from '../domain/view-filters.ts';
import { activeAtMsOf, type ConversationView } from '../domain/views.ts';
import type { ConversationLogEntry, DeletedConversation, LogReader } from '../domain/watch-ports.ts';
import { jsonLength } from './watch-held.ts';
import type { WatchTools } from './watch-hub.ts';
import { createWatch, type WatchItem, type WatchRequest } from './watch-stream.ts';
import type { Logged } from './watch-subscriber.ts';

export type ConversationChange =
  /** As it is now. */
  | { readonly kind: 'present'; readonly conversation: ConversationView }
  | { readonly kind: 'deleted'; readonly deleted: DeletedConversation };

export interface WatchConversationsParts extends WatchTools {
  readonly log: LogReader<ConversationLogEntry>;
  /** Past the cache, as in WatchMessagesParts. */
  readonly reads: Pick<Reads, 'findConversations' | 'listConversations'>;
}

/** What a conversation takes beside its meta_data. */
const CONVERSATION_BYTES = 2_000;

function bytesOf(change: ConversationChange): number {
  return CONVERSATION_BYTES + (change.kind === 'present' ? jsonLength(change.conversation.metaData) : 0);
}

function cursorOf(change: ConversationChange): Cursor {
  if (change.kind === 'deleted') throw new Error('no list has a deleted row');
  const { conversation } = change;
  return { key: new Date(activeAtMsOf(conversation)).toISOString(), id: conversation.id };
}

/** The last entry of every conversation, in order: all would tell the same. */
function latestEntries(entries: readonly ConversationLogEntry[]): readonly ConversationLogEntry[] {
  const latest = new Map<string, ConversationLogEntry>();
  for (const entry of entries) latest.set(entry.conversationId, entry);
  return entries.filter((entry) => latest.get(entry.conversationId) === entry);
}

/** Streams conversations after they have changed, and which were deleted. Changes close together may become one. */
export function createWatchConversations({ reads, ...parts }: WatchConversationsParts) {
  async function changesOf(entries: readonly ConversationLogEntry[]): Promise<readonly Logged<ConversationChange>[]> {
    const latest = latestEntries(entries);
    const present = latest.filter(({ deleted }) => deleted === undefined).map(({ conversationId }) => conversationId);
    const found = present.length === 0 ? new Map<string, ConversationView>() : (await reads.findConversations(present)).value;
    return latest.flatMap(({ place, conversationId, deleted }): Logged<ConversationChange>[] => {
      const logged = (change: ConversationChange) => [{ place, change, bytes: bytesOf(change) }];
      if (deleted !== undefined) return logged({ kind: 'deleted', deleted });
      const conversation = found.get(conversationId);
      // Deleted since; an entry that says so follows.
      return conversation === undefined ? [] : logged({ kind: 'present', conversation });
    });
  }

  const watch = createWatch<ConversationLogEntry, ConversationChange>({ ...parts, changesOf });
  return {
    size: watch.size,
    close: watch.close,
    /** Throws as Watch.stream does. */
    stream({ filter, ...request }: WatchRequest<ConversationFilter>, signal: AbortSignal): AsyncGenerator<WatchItem<ConversationChange>> {
      const isMatch = conversationMatcher(filter);
      const isDeletedMatch = deletedMatcher(filter);
      const query = {
        ...request,
        wants: () => true,
        matches: (change: ConversationChange) =>
          change.kind === 'deleted' ? isDeletedMatch(change.deleted) : isMatch(change.conversation),
        cursorOf,
        bytesOf,
        async list(page: PageRequest) {
          const { items, ...rest } = await reads.listConversations(filter, page);
          return { ...rest, items: items.map((conversation): ConversationChange => ({ kind: 'present', conversation })) };
        },
      };
      return watch.stream(query, signal);
    },
  };
}
