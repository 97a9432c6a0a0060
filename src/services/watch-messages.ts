import type { Cursor, MessageFilter, Reads } from '../domain/ports.ts';
import { messageMatcher } from '../domain/view-filters.ts';
import { createdAtMsOf, type MessageEventView, type MessageView } from '../domain/views.ts';
import type { LogReader, MessageLogEntry } from '../domain/watch-ports.ts';
import { jsonLength } from './watch-held.ts';
import type { WatchTools } from './watch-hub.ts';
import { createWatch, type WatchItem, type WatchRequest } from './watch-stream.ts';
import type { Logged } from './watch-subscriber.ts';

export interface MessageChange {
  /** As it is now. */
  readonly message: MessageView;
  /** undefined: of the initial state. */
  readonly event: MessageEventView | undefined;
}

export interface WatchMessagesParts extends WatchTools {
  readonly log: LogReader<MessageLogEntry>;
  /**
   * Past the cache: an answer that is too old, which is possible for 3 s when Redis fails, would be the last that a watcher hears of the
   * row.
   */
  readonly reads: Pick<Reads, 'findMessages' | 'listMessages'>;
}

/** What a message takes beside its texts and meta_data. */
const MESSAGE_BYTES = 2_000;

const bytesOf = ({ body, email, metaData }: MessageView): number =>
  MESSAGE_BYTES + body.length + (email?.htmlBody.length ?? 0) + jsonLength(metaData);

const cursorOf = ({ message }: MessageChange): Cursor => ({ key: new Date(createdAtMsOf(message)).toISOString(), id: message.id });

/** Streams what happens to messages, every event, in order per conversation. A message without its conversation is gone and not told of. */
export function createWatchMessages({ reads, ...parts }: WatchMessagesParts) {
  async function changesOf(entries: readonly MessageLogEntry[]): Promise<readonly Logged<MessageChange>[]> {
    const found = (await reads.findMessages([...new Set(entries.map(({ event }) => event.messageId))])).value;
    return entries.flatMap(({ place, event }) => {
      const message = found.get(event.messageId);
      return message === undefined ? [] : [{ place, change: { message, event }, bytes: bytesOf(message) }];
    });
  }

  const watch = createWatch<MessageLogEntry, MessageChange>({ ...parts, changesOf });
  return {
    size: watch.size,
    close: watch.close,
    /** Throws as Watch.stream does. */
    stream({ filter, ...request }: WatchRequest<MessageFilter>, signal: AbortSignal): AsyncGenerator<WatchItem<MessageChange>> {
      const conversationIds = new Set(filter.conversationIds);
      const isMatch = messageMatcher(filter);
      const query = {
        ...request,
        wants: ({ conversationId }: MessageLogEntry) => conversationIds.size === 0 || conversationIds.has(conversationId),
        matches: ({ message }: MessageChange) => isMatch(message),
        cursorOf,
        bytesOf: ({ message }: MessageChange) => bytesOf(message),
        async list(page: Parameters<Reads['listMessages']>[1]) {
          const { items, ...rest } = await reads.listMessages(filter, page);
          return { ...rest, items: items.map((message): MessageChange => ({ message, event: undefined })) };
        },
      };
      return watch.stream(query, signal);
    },
  };
}
