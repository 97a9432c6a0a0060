import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import {
  ConversationFilterSchema,
  ConversationInclude,
  type ConversationService,
  type WatchConversationsResponseSchema,
} from '../../gen/messaging/v1/conversation_service_pb.js';
import { fieldInvalid } from '../domain/errors.ts';
import type { JsonObject } from '../domain/json.ts';
import type { createChangeConversation } from '../services/change-conversation.ts';
import type { createCreateConversation } from '../services/create-conversation.ts';
import type { createReadConversations } from '../services/read-conversations.ts';
import type { ConversationChange, createWatchConversations } from '../services/watch-conversations.ts';
import type { WatchItem } from '../services/watch-stream.ts';
import { callerOf, tellSource } from './call.ts';
import { filterDigest, nextPageToken, pageRequestOf, SEARCH_PAGES } from './page-token.ts';
import { channelOf, conversationFilterOf, idOf, idsOf, optionalId, stalenessOf } from './requests.ts';
import { watchRequestOf, watchToken } from './watch-token.ts';

export interface ConversationServiceOptions {
  readonly createConversation: ReturnType<typeof createCreateConversation>;
  readonly readConversations: ReturnType<typeof createReadConversations>;
  readonly changeConversation: ReturnType<typeof createChangeConversation>;
  readonly watchConversations: Pick<ReturnType<typeof createWatchConversations>, 'stream'>;
}

/** Whether an update mask asks for a field; an empty mask asks for what is populated. */
function isMasked(paths: readonly string[], name: string, populated: boolean): boolean {
  return paths.length === 0 ? populated : paths.includes('*') || paths.includes(name);
}

function watched(item: WatchItem<ConversationChange>, digest: string): MessageInitShape<typeof WatchConversationsResponseSchema> {
  const resumeToken = watchToken(item.position, 'conversations', digest);
  if (item.kind === 'progress') {
    return { payload: { case: 'progress', value: { initialStateComplete: item.isInitialStateComplete } }, resumeToken };
  }
  const { change } = item;
  if (change.kind === 'deleted') return { payload: { case: 'deleted', value: { id: change.deleted.id } }, resumeToken };
  return { payload: { case: 'conversation', value: change.conversation }, resumeToken };
}

export function conversationService(options: ConversationServiceOptions): Partial<ServiceImpl<typeof ConversationService>> {
  const { createConversation, readConversations, changeConversation, watchConversations } = options;
  return {
    async createConversation(request, context) {
      const { conversation, created } = await createConversation(
        {
          participantFrom: request.participantFrom,
          participantTo: request.participantTo,
          channel: channelOf(request.channelType, 'channel_type'),
          title: request.title,
          metaData: (request.metaData ?? {}) as JsonObject,
          newThread: request.newThread,
          requestId: optionalId(request.requestId),
        },
        callerOf(context),
      );
      return { conversation, created };
    },

    async getConversation({ id, include, maxStaleness }, context) {
      const withMessages = include.includes(ConversationInclude.MESSAGES);
      const read = await readConversations.get(idOf(id), withMessages, stalenessOf(maxStaleness));
      tellSource(context, read);
      return { conversation: read.value.conversation, messages: [...read.value.messages] };
    },

    async batchGetConversations({ ids, maxStaleness }, context) {
      const read = await readConversations.getMany(idsOf(ids, 'ids'), stalenessOf(maxStaleness));
      tellSource(context, read);
      return { conversations: [...read.value] };
    },

    async listConversations(request) {
      const digest = filterDigest(ConversationFilterSchema, request.filter);
      const page = await readConversations.list(conversationFilterOf(request.filter, ['active']), pageRequestOf(request, digest));
      return { conversations: [...page.items], nextPageToken: nextPageToken(page, digest) };
    },

    async searchConversations(request) {
      const digest = filterDigest(ConversationFilterSchema, request.filter, request.query);
      const filter = conversationFilterOf(request.filter, []);
      const page = await readConversations.search(request.query, filter, pageRequestOf(request, digest, SEARCH_PAGES));
      const results = page.items.map(({ conversation, messageId, snippet }) => ({ conversation, messageId: messageId ?? '', snippet }));
      return { results, nextPageToken: nextPageToken(page, digest) };
    },

    async updateConversation({ conversation, updateMask }) {
      if (conversation === undefined) throw fieldInvalid('conversation', 'is required');
      const { id, etag, title, metaData } = conversation;
      const paths = updateMask?.paths ?? [];
      const patch = {
        title: isMasked(paths, 'title', title !== '') ? title : undefined,
        metaData: isMasked(paths, 'meta_data', metaData !== undefined) ? ((metaData ?? {}) as JsonObject) : undefined,
      };
      return { conversation: await changeConversation.update(idOf(id), patch, etag) };
    },

    async markConversationRead({ id, throughMessageId }) {
      return { conversation: await changeConversation.markRead(idOf(id), idOf(throughMessageId)) };
    },

    async archiveConversation({ id, etag }) {
      return { conversation: await changeConversation.archive(idOf(id), etag) };
    },

    async reopenConversation({ id, etag }) {
      return { conversation: await changeConversation.reopen(idOf(id), etag) };
    },

    async closeConversation({ id, etag }) {
      return { conversation: await changeConversation.close(idOf(id), etag) };
    },

    async deleteConversation({ id, etag, allowMissing }) {
      await changeConversation.delete(idOf(id), etag, allowMissing);
      return {};
    },

    async getConversationStatistics({ id }) {
      return { statistics: await readConversations.statistics(idOf(id)) };
    },

    async *watchConversations(request, { signal }) {
      const digest = filterDigest(ConversationFilterSchema, request.filter);
      const filter = conversationFilterOf(request.filter, ['active']);
      const query = { ...watchRequestOf(request, 'conversations', digest), filter };
      for await (const item of watchConversations.stream(query, signal)) yield watched(item, digest);
    },
  };
}
