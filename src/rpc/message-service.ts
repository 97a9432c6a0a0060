import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import {
  ListMessageEventsRequestSchema,
  MessageFilterSchema,
  MessageInclude,
  type MessageService,
  type SendMessageResponseSchema,
  type WatchMessagesResponseSchema,
} from '../../gen/messaging/v1/message_service_pb.js';
import { fieldInvalid } from '../domain/errors.ts';
import { providerProto, toSegmentationView, typeProto } from '../domain/views.ts';
import type { createChangeMessage } from '../services/change-message.ts';
import type { createPreviewMessage } from '../services/preview-message.ts';
import type { createReadMessages } from '../services/read-messages.ts';
import type { createSendMessages, Sent } from '../services/send-message.ts';
import type { createWatchMessages, MessageChange } from '../services/watch-messages.ts';
import type { WatchItem } from '../services/watch-stream.ts';
import { callerOf, tellSource } from './call.ts';
import { EVENT_PAGES, filterDigest, nextPageToken, pageRequestOf } from './page-token.ts';
import { draftOf, idOf, idsOf, messageFilterOf, optionalId, stalenessOf } from './requests.ts';
import { watchRequestOf, watchToken } from './watch-token.ts';

export interface MessageServiceOptions {
  readonly sendMessages: ReturnType<typeof createSendMessages>;
  readonly previewMessage: ReturnType<typeof createPreviewMessage>;
  readonly readMessages: ReturnType<typeof createReadMessages>;
  readonly changeMessage: ReturnType<typeof createChangeMessage>;
  readonly watchMessages: Pick<ReturnType<typeof createWatchMessages>, 'stream'>;
}

const includedOf = (include: readonly MessageInclude[]) => ({
  conversation: include.includes(MessageInclude.CONVERSATION),
  events: include.includes(MessageInclude.EVENTS),
});

const sentResponse = ({ message, replayed }: Sent): MessageInitShape<typeof SendMessageResponseSchema> => ({ message, replayed });

function watched(item: WatchItem<MessageChange>, digest: string): MessageInitShape<typeof WatchMessagesResponseSchema> {
  const resumeToken = watchToken(item.position, 'messages', digest);
  if (item.kind === 'progress') {
    return { payload: { case: 'progress', value: { initialStateComplete: item.isInitialStateComplete } }, resumeToken };
  }
  const { message, event } = item.change;
  return { payload: { case: 'change', value: event === undefined ? { message } : { message, event } }, resumeToken };
}

export function messageService(options: MessageServiceOptions): Partial<ServiceImpl<typeof MessageService>> {
  const { sendMessages, previewMessage, readMessages, changeMessage, watchMessages } = options;
  return {
    async sendMessage({ message, requestId }, context) {
      if (message === undefined) throw fieldInvalid('message', 'is required');
      const [sent] = await sendMessages([{ draft: draftOf(message, 'message'), requestId: optionalId(requestId) }], callerOf(context));
      return sent === undefined ? {} : sentResponse(sent);
    },

    async batchSendMessages({ requests }, context) {
      const drafts = requests.map(({ message, requestId }, index) => {
        if (message === undefined) throw fieldInvalid(`requests[${index}].message`, 'is required');
        return { draft: draftOf(message, `requests[${index}].message`), requestId: optionalId(requestId) };
      });
      return { responses: (await sendMessages(drafts, callerOf(context))).map(sentResponse) };
    },

    async previewMessage({ message }) {
      if (message === undefined) throw fieldInvalid('message', 'is required');
      const { from, to, suppressed, ...preview } = await previewMessage(draftOf(message, 'message'));
      const { messageType, provider, segmentation, conversationId } = preview;
      return {
        fromAddress: from.text,
        toAddress: to.text,
        messageType: typeProto[messageType],
        provider: providerProto[provider],
        ...(segmentation === undefined ? {} : { segmentation: toSegmentationView(segmentation) }),
        suppressed,
        conversationId: conversationId ?? '',
      };
    },

    async getMessage({ id, include, maxStaleness }, context) {
      const read = await readMessages.get(idOf(id), includedOf(include), stalenessOf(maxStaleness));
      tellSource(context, read);
      const { message, conversation, events } = read.value;
      return conversation === undefined ? { message, events: [...events] } : { message, conversation, events: [...events] };
    },

    async batchGetMessages({ ids, maxStaleness }, context) {
      const read = await readMessages.getMany(idsOf(ids, 'ids'), stalenessOf(maxStaleness));
      tellSource(context, read);
      return { messages: [...read.value] };
    },

    async listMessages(request) {
      const digest = filterDigest(MessageFilterSchema, request.filter);
      const page = await readMessages.list(messageFilterOf(request.filter), pageRequestOf(request, digest));
      return { messages: [...page.items], nextPageToken: nextPageToken(page, digest) };
    },

    async listMessageEvents(request) {
      const messageId = idOf(request.messageId);
      const digest = filterDigest(ListMessageEventsRequestSchema, create(ListMessageEventsRequestSchema, { messageId }));
      const page = await readMessages.listEvents(messageId, pageRequestOf(request, digest, EVENT_PAGES));
      return { events: [...page.items], nextPageToken: nextPageToken(page, digest) };
    },

    async cancelMessage({ id }) {
      return { message: await changeMessage.cancel(idOf(id)) };
    },

    async retryMessage({ id, force, requestId }, context) {
      return { message: await changeMessage.retry(idOf(id), force, optionalId(requestId), callerOf(context)) };
    },

    async *watchMessages(request, { signal }) {
      const digest = filterDigest(MessageFilterSchema, request.filter);
      const query = { ...watchRequestOf(request, 'messages', digest), filter: messageFilterOf(request.filter) };
      for await (const item of watchMessages.stream(query, signal)) yield watched(item, digest);
    },
  };
}
