/** What is done with webhooks, over an empty database: whatever a provider posts is taken for authentic. */
import pg from 'pg';
import { v7 as uuidv7 } from 'uuid';
import type { WebhookContent } from '../../src/domain/webhook-ports.ts';
import { WEBHOOK_PATHS } from '../../src/domain/webhook-request.ts';
import { parseWebhook } from '../../src/providers/webhooks.ts';
import type { EventOutcome, WebhookParts } from '../../src/services/apply-webhook.ts';
import { createIngestWebhook } from '../../src/services/ingest-webhook.ts';
import { createReadWebhooks } from '../../src/services/read-webhooks.ts';
import { createReplayWebhook, createRetryWebhook } from '../../src/services/repeat-webhook.ts';
import { eventsBody, type Posted } from './signed-webhooks.ts';
import { openStorage, useCases } from './use-cases.ts';

export async function openWebhookCases() {
  await using opening = new AsyncDisposableStack();
  const storage = opening.use(await openStorage());
  const client = new pg.Client({ connectionString: storage.url });
  await client.connect();
  opening.defer(() => client.end());
  let now = new Date('2026-05-01T12:00:00.000Z');
  const clock = { now: () => now };
  const told: (EventOutcome['kind'] | { readonly reason: string; readonly error: unknown })[] = [];
  const traced: string[] = [];
  const parts: WebhookParts = {
    store: storage.store,
    clock,
    newId: uuidv7,
    onDelivered: () => undefined,
    parse: parseWebhook,
    inTrace(parent, work) {
      traced.push(parent);
      return work();
    },
    observer: {
      event: (_provider, kind) => void told.push(kind),
      quarantined: (_id, reason, error) => void told.push({ reason, error }),
    },
  };
  const opened = opening.move();
  return {
    ...storage,
    parts,
    told,
    /** Parents that events were put below. */
    traced,
    cases: useCases({ ...storage, clock }),
    ingest: createIngestWebhook(parts),
    retry: createRetryWebhook(parts),
    replay: createReplayWebhook(parts),
    read: createReadWebhooks(storage),
    advance(ms: number): void {
      now = new Date(now.getTime() + ms);
    },
    now: clock.now,
    query: async <Row extends pg.QueryResultRow>(text: string, values: readonly unknown[] = []): Promise<readonly Row[]> =>
      (await client.query<Row>(text, [...values])).rows,
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

export type WebhookCases = Awaited<ReturnType<typeof openWebhookCases>>;

export function contentOf({ endpoint, path, headers, body }: Posted): WebhookContent {
  return { endpoint, path, contentType: headers['content-type'] ?? '', body };
}

export function eventsContent(events: readonly object[]): WebhookContent {
  const endpoint = 'sendgrid_events';
  return { endpoint, path: WEBHOOK_PATHS[endpoint], contentType: 'application/json', body: eventsBody(events) };
}

export const emailDraft = (to: string) => ({
  fromAddress: 'support@example.com',
  toAddress: to,
  email: { subject: 'Hello', htmlBody: '', replyTo: '', internetMessageId: '' },
});
