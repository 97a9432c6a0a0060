import { conversationNotFound } from '../domain/errors.ts';
import type { ConversationFilter, ConversationMatch, Page, PageRequest, Read, ReadOptions, Reads } from '../domain/ports.ts';
import type { ConversationView, MessageView, StatisticsView } from '../domain/views.ts';

export interface ConversationWithMessages {
  readonly conversation: ConversationView;
  readonly messages: readonly MessageView[];
}

const MAX_INCLUDED_MESSAGES = 50;

/** Every method throws conversation_not_found for ids that do not exist. */
export function createReadConversations({ reads }: { readonly reads: Reads }) {
  async function known(id: string, options?: ReadOptions): Promise<Read<ConversationView>> {
    const { value, ...origin } = await reads.findConversation(id, options);
    if (value === undefined) throw conversationNotFound([id]);
    return { value, ...origin };
  }

  return {
    /** Without its messages a cached conversation is answered without the database. */
    async get(id: string, includeMessages: boolean, options: ReadOptions = {}): Promise<Read<ConversationWithMessages>> {
      const { value: conversation, ...origin } = await known(id, options);
      if (!includeMessages) return { value: { conversation, messages: [] }, ...origin };
      const filter = { conversationIds: [id], statuses: [], messageTypes: [], failureReasons: [] };
      const { items } = await reads.listMessages(filter, { size: MAX_INCLUDED_MESSAGES });
      return { value: { conversation, messages: items }, ...origin };
    },

    /** In the order of `ids`. */
    async getMany(ids: readonly string[], options: ReadOptions = {}): Promise<Read<readonly ConversationView[]>> {
      const { value: found, ...origin } = await reads.findConversations(ids, options);
      const missing = ids.filter((id) => !found.has(id));
      if (missing.length > 0) throw conversationNotFound(missing);
      return { value: ids.flatMap((id) => found.get(id) ?? []), ...origin };
    },

    list: (filter: ConversationFilter, page: PageRequest): Promise<Page<ConversationView>> => reads.listConversations(filter, page),

    search: (query: string, filter: ConversationFilter, page: PageRequest): Promise<Page<ConversationMatch>> =>
      reads.searchConversations(query, filter, page),

    async statistics(id: string): Promise<StatisticsView> {
      await known(id);
      return reads.conversationStatistics(id);
    },
  };
}
