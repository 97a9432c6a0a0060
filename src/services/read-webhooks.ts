import { webhookRequestNotFound } from '../domain/errors.ts';
import type { Page, PageRequest } from '../domain/ports.ts';
import type { WebhookRequestView } from '../domain/views.ts';
import type { WebhookFilter, WebhookReads } from '../domain/webhook-ports.ts';

export function createReadWebhooks({ webhooks }: { readonly webhooks: WebhookReads }) {
  return {
    /** Throws webhook_request_not_found. */
    async get(id: string): Promise<WebhookRequestView> {
      const request = await webhooks.findWebhookRequest(id);
      if (request === undefined) throw webhookRequestNotFound(id);
      return request;
    },

    list: (filter: WebhookFilter, page: PageRequest): Promise<Page<WebhookRequestView>> => webhooks.listWebhookRequests(filter, page),
  };
}
