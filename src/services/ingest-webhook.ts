import type { WebhookContent } from '../domain/webhook-ports.ts';
import { newWebhookRequest, providerOfEndpoint, type WebhookState } from '../domain/webhook-request.ts';
import { bugIn, processWebhook, type WebhookParts } from './apply-webhook.ts';

export interface IngestedWebhook {
  readonly id: string;
  readonly state: WebhookState;
}

/**
 * Stores an authentic request and applies what it tells, in one transaction; an event that cannot be applied does not keep the others
 * from it. Throws storage_unavailable, and what a bug of ours threw when the body is too large to be kept for a replay: then nothing is
 * stored, and the provider should send it again.
 */
export function createIngestWebhook(parts: WebhookParts) {
  const { store, clock, newId, parse, observer } = parts;
  return async (content: WebhookContent): Promise<IngestedWebhook> => {
    const { endpoint, path, contentType, body } = content;
    const request = newWebhookRequest({ id: newId(), endpoint, path, contentType, body, receivedAt: clock.now() });
    const events = await parse(content);
    const { verdict, outcomes } = await store.transaction(async (tx) => {
      const processed = await processWebhook(tx, request, events, parts);
      const bug = request.truncated ? bugIn(processed.outcomes) : undefined;
      if (bug !== undefined) throw bug;
      await tx.storeWebhookRequest({ ...request, ...processed.verdict, tries: 1, processedAt: clock.now() });
      return processed;
    });
    for (const outcome of outcomes) {
      observer.event(providerOfEndpoint(endpoint), outcome.kind);
      if (outcome.kind === 'quarantined') observer.quarantined(request.id, outcome.reason, outcome.error);
    }
    return { id: request.id, state: verdict.state };
  };
}
