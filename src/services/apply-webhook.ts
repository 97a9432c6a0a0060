/** What a webhook request tells, applied event by event. Used when it arrives, is tried again and is replayed. */
import { DomainError } from '../domain/errors.ts';
import type { Provider } from '../domain/message.ts';
import type { Store, Tx } from '../domain/ports.ts';
import type { ReportPlace, WebhookEvent, WebhookParser } from '../domain/webhook-ports.ts';
import type { WebhookRequestFields, WebhookState, WebhookVerdict } from '../domain/webhook-request.ts';
import { storeInbound } from './receive-message.ts';
import { applyReport, type ReportParts } from './report-delivery.ts';
import { unmatchedOptOut } from './unmatched-opt-out.ts';

/** `reason`: in words, without anything of the content. `error`: what was thrown, for the log. */
export type EventOutcome =
  | { readonly kind: 'applied' | 'duplicate' | 'unmatched' }
  | { readonly kind: 'quarantined'; readonly reason: string; readonly error?: unknown };

/** Told once a transaction has committed. */
export interface WebhookObserver {
  event(provider: Provider, outcome: EventOutcome['kind']): void;
  quarantined(webhookRequestId: string, reason: string, error: unknown): void;
}

export interface WebhookParts extends ReportParts {
  readonly store: Store;
  readonly parse: WebhookParser;
  /** Runs the work as part of the trace of `parent`, a W3C traceparent; empty: of the running one. */
  readonly inTrace: (parent: string, work: () => Promise<EventOutcome>) => Promise<EventOutcome>;
  readonly observer: WebhookObserver;
}

/** How long a request is tried again that tells of an unknown message. */
const RETRY_WINDOW_MS = 15 * 60_000;
const RETRY_BASE_MS = 5_000;
const MAX_RETRY_WAIT_MS = 120_000;
/** Events of one request whose reasons its error tells. */
const MAX_REASONS = 5;

function outcomeOf(error: unknown): EventOutcome {
  if (!(error instanceof DomainError)) {
    return { kind: 'quarantined', reason: `a bug of this service, ${error instanceof Error ? error.name : typeof error}`, error };
  }
  // The text of a DomainError never repeats a value.
  return error.code === 'message_not_found' ? { kind: 'unmatched' } : { kind: 'quarantined', reason: error.message, error };
}

/** What was thrown by the first event that met a bug, not a rule; undefined: none did. */
export function bugIn(outcomes: readonly EventOutcome[]): unknown {
  const errors = outcomes.flatMap((outcome) => (outcome.kind === 'quarantined' && outcome.error !== undefined ? [outcome.error] : []));
  return errors.find((error) => !(error instanceof DomainError));
}

type ReadableEvent = Exclude<WebhookEvent, { readonly kind: 'unreadable' }>;

async function apply(tx: Tx, event: ReadableEvent, parts: WebhookParts): Promise<EventOutcome> {
  switch (event.kind) {
    case 'report':
      return { kind: (await applyReport(tx, event.report, parts)).duplicate ? 'duplicate' : 'applied' };
    case 'inbound':
      return { kind: (await storeInbound(tx, event.inbound, parts)).duplicate ? 'duplicate' : 'applied' };
    default:
      return event satisfies never;
  }
}

interface PlacedEvent {
  readonly event: WebhookEvent;
  readonly index: number;
  readonly place: ReportPlace;
}

const NOWHERE: ReportPlace = { conversationId: undefined, traceParent: '' };
const isKnown = ({ conversationId }: ReportPlace): boolean => conversationId !== undefined;

/**
 * Events of one conversation side by side, otherwise as they came. Conversations, which are locked as events are applied, in one order for
 * all requests: two of them must not wait for each other in a circle.
 */
async function inOrder(tx: Tx, provider: Provider, events: readonly WebhookEvent[]): Promise<readonly PlacedEvent[]> {
  const reports = events.flatMap((event) => (event.kind === 'report' ? [event.report] : []));
  const places = reports.length === 0 ? [] : await tx.placeReports(provider, reports);
  const remaining = places.values();
  const placed = events.map((event, index): PlacedEvent => {
    return { event, index, place: event.kind === 'report' ? (remaining.next().value ?? NOWHERE) : NOWHERE };
  });
  const keyOf = ({ place }: PlacedEvent): string => place.conversationId ?? '';
  return placed.toSorted((left, right) => (keyOf(left) < keyOf(right) ? -1 : keyOf(left) > keyOf(right) ? 1 : left.index - right.index));
}

/** In the order of the events. One that fails is undone alone. */
async function applyEvents(
  tx: Tx,
  provider: Provider,
  events: readonly WebhookEvent[],
  parts: WebhookParts,
): Promise<readonly EventOutcome[]> {
  const placed = await inOrder(tx, provider, events);
  const outcomes: EventOutcome[] = [];
  for (const { event, index, place } of placed) {
    if (event.kind === 'unreadable') outcomes[index] = { kind: 'quarantined', reason: event.error };
    else if (event.kind === 'report' && !isKnown(place)) outcomes[index] = { kind: 'unmatched' };
    else {
      outcomes[index] = await parts.inTrace(place.traceParent, async () => {
        const outcome = await tx.savepoint((inner) => apply(inner, event, parts));
        return outcome.kind === 'kept' ? outcome.value : outcomeOf(outcome.error);
      });
    }
  }
  return outcomes;
}

/** States of a request whose opt-outs have not been obeyed yet, or not all of them. Again, one would undo what came after it. */
const IS_UNHEARD = {
  received: true,
  quarantined: true,
  processed: false,
  unmatched: false,
} satisfies Record<WebhookState, boolean>;

/** Opt-outs of events that tell of an unknown message. Once nothing more of the request locks a conversation, and in one order. */
async function obeyUnmatched(
  tx: Tx,
  events: readonly WebhookEvent[],
  outcomes: readonly EventOutcome[],
  { clock, newId }: WebhookParts,
): Promise<readonly EventOutcome[]> {
  const optOuts = events.flatMap((event, index) => {
    const optOut = outcomes[index]?.kind === 'unmatched' ? unmatchedOptOut(event, clock.now(), newId) : undefined;
    return optOut === undefined ? [] : [{ index, optOut }];
  });
  const obeyed = [...outcomes];
  for (const { index, optOut } of optOuts.toSorted((left, right) => (left.optOut.addressKey < right.optOut.addressKey ? -1 : 1))) {
    const outcome = await tx.savepoint((inner) => inner.suppress(optOut));
    if (outcome.kind === 'undone') obeyed[index] = outcomeOf(outcome.error);
  }
  return obeyed;
}

/** When to try again; undefined: no more. The last time is at the end of the window. */
function nextTryAt({ receivedAt, tries }: Pick<WebhookRequestFields, 'receivedAt' | 'tries'>, now: Date): Date | undefined {
  const endMs = receivedAt.getTime() + RETRY_WINDOW_MS;
  if (now.getTime() >= endMs) return undefined;
  const waitMs = Math.min(RETRY_BASE_MS * 2 ** tries, MAX_RETRY_WAIT_MS);
  return new Date(Math.min(now.getTime() + waitMs, endMs));
}

function verdictOf(outcomes: readonly EventOutcome[], unmatchedFor: string): WebhookVerdict {
  const reasons = outcomes.flatMap((outcome, index) =>
    outcome.kind === 'quarantined' ? [`event ${index + 1} of ${outcomes.length}: ${outcome.reason}`] : [],
  );
  const more = reasons.length > MAX_REASONS ? [`and ${reasons.length - MAX_REASONS} more`] : [];
  const unmatched = outcomes.filter(({ kind }) => kind === 'unmatched').length;
  const unknown = unmatched === 0 ? [] : [`${unmatched} of ${outcomes.length} events tell of a message that is not known; ${unmatchedFor}`];
  const state = reasons.length > 0 ? 'quarantined' : unmatched > 0 ? 'unmatched' : 'processed';
  return { state, error: [...reasons.slice(0, MAX_REASONS), ...more, ...unknown].join('; ') };
}

export interface ProcessedWebhook {
  readonly verdict: WebhookVerdict;
  readonly outcomes: readonly EventOutcome[];
}

/** Applies the events of a request in a transaction, and plans another try when some tell of an unknown message. */
export async function processWebhook(
  tx: Tx,
  request: Omit<WebhookRequestFields, 'body'>,
  events: readonly WebhookEvent[],
  parts: WebhookParts,
): Promise<ProcessedWebhook> {
  const applied = await applyEvents(tx, request.provider, events, parts);
  const outcomes = IS_UNHEARD[request.state] ? await obeyUnmatched(tx, events, applied, parts) : applied;
  if (!outcomes.some(({ kind }) => kind === 'unmatched')) return { verdict: verdictOf(outcomes, ''), outcomes };
  if (request.truncated) return { verdict: verdictOf(outcomes, 'the body was too large to keep for another try'), outcomes };
  const runAt = nextTryAt(request, parts.clock.now());
  if (runAt === undefined) return { verdict: verdictOf(outcomes, 'given up after 15 minutes'), outcomes };
  await tx.scheduleWebhookRetry(request.id, runAt);
  return { verdict: verdictOf(outcomes, 'tried again for 15 minutes'), outcomes };
}
