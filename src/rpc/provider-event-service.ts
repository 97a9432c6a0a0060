import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { ListWebhookRequestsRequestSchema, type ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import type { JsonObject } from '../domain/json.ts';
import type { createReadWebhooks } from '../services/read-webhooks.ts';
import type { createReceiveMessage } from '../services/receive-message.ts';
import type { createReplayWebhook } from '../services/repeat-webhook.ts';
import type { createReportDelivery } from '../services/report-delivery.ts';
import { filterDigest, nextPageToken, pageRequestOf } from './page-token.ts';
import { attachmentsOf, emailOf, idOf, messageTypeOf, optionalDate, optionalId, providerOf, webhookFilterOf } from './requests.ts';

export interface ProviderEventServiceOptions {
  readonly receiveMessage: ReturnType<typeof createReceiveMessage>;
  readonly reportDelivery: ReturnType<typeof createReportDelivery>;
  readonly readWebhooks: ReturnType<typeof createReadWebhooks>;
  readonly replayWebhook: ReturnType<typeof createReplayWebhook>;
}

export function providerEventService({
  receiveMessage,
  reportDelivery,
  readWebhooks,
  replayWebhook,
}: ProviderEventServiceOptions): Partial<ServiceImpl<typeof ProviderEventService>> {
  return {
    receiveMessage: (request) =>
      receiveMessage({
        provider: providerOf(request.provider, 'provider'),
        providerMessageId: request.providerMessageId,
        messageType: messageTypeOf(request.messageType, 'message_type'),
        fromAddress: request.fromAddress,
        toAddress: request.toAddress,
        body: request.body,
        attachments: attachmentsOf(request.attachments),
        email: emailOf(request.email),
        metaData: (request.metaData ?? {}) as JsonObject,
        occurredAt: optionalDate(request.occurredAt),
      }),

    reportDelivery: (request) =>
      reportDelivery({
        provider: providerOf(request.provider, 'provider'),
        providerEventId: request.providerEventId,
        messageId: optionalId(request.messageId),
        attempt: undefined,
        providerMessageId: request.providerMessageId,
        providerStatus: request.providerStatus,
        providerCode: request.providerCode,
        providerMessage: request.providerMessage,
        occurredAt: optionalDate(request.occurredAt),
      }),

    getWebhookRequest: async ({ id }) => ({ webhookRequest: await readWebhooks.get(idOf(id)) }),

    async listWebhookRequests(request) {
      const { provider, state } = request;
      const digest = filterDigest(ListWebhookRequestsRequestSchema, create(ListWebhookRequestsRequestSchema, { provider, state }));
      const page = await readWebhooks.list(webhookFilterOf(request), pageRequestOf(request, digest));
      return { webhookRequests: [...page.items], nextPageToken: nextPageToken(page, digest) };
    },

    replayWebhookRequest: async ({ id }) => ({ webhookRequest: await replayWebhook(idOf(id)) }),
  };
}
