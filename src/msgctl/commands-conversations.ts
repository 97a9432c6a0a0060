/** conversations list, get, search. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type ConversationFilterSchema,
  ConversationInclude,
  ConversationStatus,
  GetConversationResponseSchema,
  ListConversationsResponseSchema,
  MessageType,
  SearchConversationsResponseSchema,
} from '../client/messaging-client.ts';
import { type Arguments, namesOf, type Options } from './arguments.ts';
import type { Command } from './command.ts';
import { conversationCells, conversationColumns, conversationFields, messageCells, messageColumns, moment } from './message-text.ts';
import { jsonOf } from './output.ts';
import { listOf, noteRest, pageOptions } from './pages.ts';

const filterOptions: Options = {
  participant: { value: 'ADDRESS', about: 'with this address on either side' },
  channel: { value: 'CHANNEL', about: 'sms, email' },
  status: { value: 'STATUS', multiple: true, about: `${namesOf(ConversationStatus).join(', ')}; may be repeated` },
  unread: { about: 'with unread messages' },
  since: { value: 'TIME', about: 'active at this time or later' },
};

function filterOf(args: Arguments): MessageInitShape<typeof ConversationFilterSchema> {
  const activeAfter = args.time('since');
  return {
    participant: args.text('participant') ?? '',
    channelType: args.choice<MessageType>('channel', MessageType) ?? MessageType.UNSPECIFIED,
    statuses: args.choices<ConversationStatus>('status', ConversationStatus),
    unreadOnly: args.flag('unread'),
    ...(activeAfter && { activeAfter }),
  };
}

const list: Command = {
  name: 'conversations list',
  about: 'list conversations, most recently active first; ACTIVE ones unless --status says otherwise',
  options: { ...filterOptions, ...pageOptions },
  async run({ client, args, output, signal }) {
    args.exactly();
    const filter = filterOf(args);
    const listed = await listOf(args, async (page) => {
      const { conversations, nextPageToken } = await client.conversations.listConversations({ filter, ...page }, { signal });
      return { items: conversations, nextPageToken };
    });
    const { items, nextPageToken } = listed;
    if (output.json) {
      const response = create(ListConversationsResponseSchema, { conversations: [...items], nextPageToken });
      output.document(jsonOf(ListConversationsResponseSchema, response));
    } else output.table(conversationColumns, items.map(conversationCells));
    noteRest(output, listed);
  },
};

const get: Command = {
  name: 'conversations get',
  takes: 'ID',
  about: 'show a conversation and its newest messages',
  async run({ client, args, output, signal }) {
    const [id = ''] = args.exactly('ID');
    const response = await client.conversations.getConversation({ id, include: [ConversationInclude.MESSAGES] }, { signal });
    if (output.json) output.document(jsonOf(GetConversationResponseSchema, response));
    else if (response.conversation !== undefined) {
      output.fields(conversationFields(response.conversation));
      output.title('Newest messages');
      output.table(messageColumns, response.messages.map(messageCells));
    }
  },
};

const search: Command = {
  name: 'conversations search',
  takes: 'QUERY',
  about: 'search titles, participants and bodies, best match first; "a phrase" in quotes',
  options: { ...filterOptions, limit: { value: 'N', about: 'at most this many; 20' } },
  async run({ client, args, output, signal }) {
    const [query = ''] = args.exactly('QUERY');
    const request = { query, filter: filterOf(args), pageSize: args.integer('limit', 1, 50) ?? 20 };
    const response = await client.conversations.searchConversations(request, { signal });
    if (output.json) output.document(jsonOf(SearchConversationsResponseSchema, response));
    else {
      const columns = [
        { name: 'id' },
        { name: 'ours', cut: true },
        { name: 'theirs', cut: true },
        { name: 'last message' },
        { name: 'match', cut: true },
      ];
      const rows = response.results.map(({ conversation, snippet }) => {
        const { id = '', participantFrom = '', participantTo = '', lastMessageAt } = conversation ?? {};
        return [id, participantFrom, participantTo, moment(lastMessageAt), snippet];
      });
      output.table(columns, rows);
    }
    noteRest(output, { items: response.results, nextPageToken: '' });
  },
};

export const conversationCommands: readonly Command[] = [list, get, search];
