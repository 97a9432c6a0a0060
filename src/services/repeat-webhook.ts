/** Processing of stored requests again: by the queue, while they tell of unknown messages, and by people. */
import { DomainError, webhookRequestNotFound } from '../domain/errors.ts';
import type { Tx } from '../domain/ports.ts';
import { toWebhookRequestView, type WebhookRequestView } from '../domain/views.ts';
import type { WebhookRequest, WebhookState } from '../domain/webhook-request.ts';
import { type EventOutcome, processWebhook, type WebhookParts } from './apply-webhook.ts';

interface Repeated {
  readonly request: WebhookRequest;
  readonly stateBefore: WebhookState;
  readonly outcomes: readonly EventOutcome[];
}

/** Events that were applied before are known by their ids and change nothing. */
async function repeat(tx: Tx, request: WebhookRequest, parts: WebhookParts): Promise<Repeated> {
  const stateBefore = request.state;
  const { verdict, outcomes } = await processWebhook(tx, request, await parts.parse(request), parts);
  request.settle(verdict, parts.clock.now());
  return { request, stateBefore, outcomes };
}

/** Counts and logs what is new this time; the rest was when the request came. */
function tell({ request, stateBefore, outcomes }: Repeated, { observer }: WebhookParts): void {
  for (const outcome of outcomes) {
    if (outcome.kind === 'applied') observer.event(request.provider, outcome.kind);
    if (outcome.kind !== 'quarantined' || stateBefore === 'quarantined') continue;
    observer.event(request.provider, outcome.kind);
    observer.quarantined(request.id, outcome.reason, outcome.error);
  }
}

/** For the queue's task `retry_webhook`. Does nothing when the request is gone, or was processed in the meantime. */
export function createRetryWebhook(parts: WebhookParts) {
  return async (webhookRequestId: string): Promise<void> => {
    const done = await parts.store.transaction(async (tx) => {
      const request = await tx.lockWebhookRequest(webhookRequestId);
      if (request === undefined || request.state === 'processed') return undefined;
      return repeat(tx, request, parts);
    });
    if (done !== undefined) tell(done, parts);
  };
}

/** Throws webhook_request_not_found, and status_forbids when only a part of the body was kept. */
export function createReplayWebhook(parts: WebhookParts) {
  return async (id: string): Promise<WebhookRequestView> => {
    const done = await parts.store.transaction(async (tx) => {
      const found = await tx.lockWebhookRequest(id);
      if (found === undefined) throw webhookRequestNotFound(id);
      if (found.truncated) {
        throw new DomainError('status_forbids', `webhook request ${id} was too large to be kept whole; it cannot be replayed`, {
          metadata: { status: 'truncated', allowed: 'whole' },
        });
      }
      return repeat(tx, found, parts);
    });
    tell(done, parts);
    return toWebhookRequestView(done.request);
  };
}
