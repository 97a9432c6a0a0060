import { messageNotFound } from '../domain/errors.ts';
import type { MessageFilter, Page, PageRequest, Read, ReadOptions, Reads } from '../domain/ports.ts';
import type { ConversationView, MessageEventView, MessageView } from '../domain/views.ts';

export interface MessageInclude {
  readonly conversation: boolean;
  readonly events: boolean;
}

export interface MessageWithIncluded {
  readonly message: MessageView;
  readonly conversation: ConversationView | undefined;
  readonly events: readonly MessageEventView[];
}

const MAX_INCLUDED_EVENTS = 100;

/** Every method throws message_not_found for ids that do not exist. */
export function createReadMessages({ reads }: { readonly reads: Reads }) {
  return {
    /** Without `include` a cached message is answered without the database. `source` and `ageMs` tell about the message itself. */
    async get(id: string, include: MessageInclude, options: ReadOptions = {}): Promise<Read<MessageWithIncluded>> {
      const { value: message, source, ageMs } = await reads.findMessage(id, options);
      if (message === undefined) throw messageNotFound([id]);
      if (!include.conversation && !include.events) return { value: { message, conversation: undefined, events: [] }, source, ageMs };
      const [conversation, events] = await Promise.all([
        include.conversation ? reads.findConversation(message.conversationId, options) : undefined,
        include.events ? reads.listMessageEvents(id, { size: MAX_INCLUDED_EVENTS }) : undefined,
      ]);
      return { value: { message, conversation: conversation?.value, events: events?.items ?? [] }, source, ageMs };
    },

    /** In the order of `ids`. */
    async getMany(ids: readonly string[], options: ReadOptions = {}): Promise<Read<readonly MessageView[]>> {
      const { value: found, ...origin } = await reads.findMessages(ids, options);
      const missing = ids.filter((id) => !found.has(id));
      if (missing.length > 0) throw messageNotFound(missing);
      return { value: ids.flatMap((id) => found.get(id) ?? []), ...origin };
    },

    list: (filter: MessageFilter, page: PageRequest): Promise<Page<MessageView>> => reads.listMessages(filter, page),

    async listEvents(messageId: string, page: PageRequest): Promise<Page<MessageEventView>> {
      const events = await reads.listMessageEvents(messageId, page);
      if (events.items.length === 0 && (await reads.findMessage(messageId)).value === undefined) throw messageNotFound([messageId]);
      return events;
    },
  };
}
