/** What webhooks need from outside: a provider's signature and words, a place to keep requests, and a way to undo part of a transaction. */
import type { ReportedDelivery } from './delivery-report.ts';
import type { InboundMessage } from './inbound-message.ts';
import type { Provider } from './message.ts';
import type { Page, PageRequest } from './ports.ts';
import type { WebhookRequestView } from './views.ts';
import type { WebhookEndpoint, WebhookRequest, WebhookRequestFields, WebhookState } from './webhook-request.ts';

export interface WebhookContent {
  readonly endpoint: WebhookEndpoint;
  /** With its query, as it came. */
  readonly path: string;
  readonly contentType: string;
  readonly body: Uint8Array;
}

export interface SignedWebhook extends WebhookContent {
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
}

/**
 * `forged`: its signature is missing or not good. `unverifiable`: the fault may be ours, so it is worth another try. Nothing is configured
 * to check it by, or it was signed at another time than our clock allows.
 */
export type Authenticity = 'authentic' | 'forged' | 'unverifiable';

/** Never throws. */
export type WebhookVerifier = (webhook: SignedWebhook) => Promise<Authenticity>;

/** One thing that a request tells. `unreadable`: it makes no sense; `error` says why, without repeating any of it. */
export type WebhookEvent =
  | {
      readonly kind: 'report';
      readonly report: ReportedDelivery;
      /** Mailbox of the recipient, as the provider spells it; undefined: it is not told. */
      readonly recipient?: string;
    }
  | { readonly kind: 'inbound'; readonly inbound: InboundMessage }
  | { readonly kind: 'unreadable'; readonly error: string };

/** Never throws; the same content means the same events whenever it is asked. */
export type WebhookParser = (webhook: WebhookContent) => Promise<readonly WebhookEvent[]>;

/** `undone`: nothing of the work is left, and the transaction goes on. */
export type SavepointOutcome<T> = { readonly kind: 'kept'; readonly value: T } | { readonly kind: 'undone'; readonly error: unknown };

/** Where a report belongs. */
export interface ReportPlace {
  /** undefined: no such message is known. */
  readonly conversationId: string | undefined;
  /** W3C traceparent of the attempt; empty: none. */
  readonly traceParent: string;
}

export interface WebhookTx<Tx> {
  /**
   * Runs `work` so that it can be undone alone when it throws. Throws when the transaction as a whole cannot go on: deadlock, lost
   * connection, time-outs.
   */
  savepoint<T>(work: (tx: Tx) => Promise<T>): Promise<SavepointOutcome<T>>;
  /** In the order of the reports; locks nothing. */
  placeReports(provider: Provider, reports: readonly ReportedDelivery[]): Promise<readonly ReportPlace[]>;
  storeWebhookRequest(request: WebhookRequestFields): Promise<void>;
  lockWebhookRequest(id: string): Promise<WebhookRequest | undefined>;
  /** In force when the transaction commits. A later call takes the place of an earlier one whose time has not come. */
  scheduleWebhookRetry(id: string, runAt: Date): Promise<void>;
}

export interface WebhookFilter {
  readonly provider?: Provider;
  readonly state?: WebhookState;
}

/** Outside a transaction. Every method throws storage_unavailable when PostgreSQL cannot answer. */
export interface WebhookReads {
  findWebhookRequest(id: string): Promise<WebhookRequestView | undefined>;
  /** Newest first, without bodies. */
  listWebhookRequests(filter: WebhookFilter, page: PageRequest): Promise<Page<WebhookRequestView>>;
  /** Removes at most `limit` that came before; returns how many. */
  deleteOlderThan(date: Date, limit: number): Promise<number>;
}
