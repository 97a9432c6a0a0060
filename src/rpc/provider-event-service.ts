import type { ServiceImpl } from '@connectrpc/connect';
import type { ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import type { JsonObject } from '../domain/json.ts';
import type { createReceiveMessage } from '../services/receive-message.ts';
import type { createReportDelivery } from '../services/report-delivery.ts';
import { attachmentsOf, emailOf, messageTypeOf, optionalDate, optionalId, providerOf } from './requests.ts';

export interface ProviderEventServiceOptions {
  readonly receiveMessage: ReturnType<typeof createReceiveMessage>;
  readonly reportDelivery: ReturnType<typeof createReportDelivery>;
}

export function providerEventService({
  receiveMessage,
  reportDelivery,
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
        providerMessageId: request.providerMessageId,
        providerStatus: request.providerStatus,
        providerCode: request.providerCode,
        providerMessage: request.providerMessage,
        occurredAt: optionalDate(request.occurredAt),
      }),
  };
}
