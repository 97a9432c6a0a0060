/** SendGrid's Email Activity: its query language, as far as the simulator speaks it, and what it answers. */
import { type AcceptedEmail, stepAt } from './simulator-journal.ts';

interface Clause {
  readonly argument: string | undefined;
  readonly field: string | undefined;
  readonly pattern: string;
  /** LIKE: a percent sign at either end stands for anything. */
  readonly like: boolean;
}

/** `unique_args['name']="value"`, `field="value"` or `field LIKE "value%"`, in brackets or not, and the AND that follows. */
const CLAUSE = /\s*\(*\s*(?:unique_args\['([^'\]]+)'\]|([a-z_]+))\s*(=|LIKE)\s*"([^"]*)"\s*\)*\s*(?:AND\b|$)/iy;
const MAX_CLAUSES = 10;

const FIELDS: ReadonlyMap<string, (message: AcceptedEmail, nowMs: number) => string> = new Map([
  ['msg_id', (message: AcceptedEmail) => message.sgMessageId],
  ['to_email', (message: AcceptedEmail) => message.to],
  ['from_email', (message: AcceptedEmail) => message.from],
  ['subject', (message: AcceptedEmail) => message.subject],
  ['status', activityStatus],
]);

const STATUSES: ReadonlyMap<string, string> = new Map([
  ['processed', 'processed'],
  ['deferred', 'processing'],
  ['delivered', 'delivered'],
  ['bounce', 'not_delivered'],
  ['blocked', 'not_delivered'],
  ['dropped', 'not_delivered'],
]);

/** Opens and the like do not change it. */
function activityStatus(message: AcceptedEmail, nowMs: number): string {
  const known = message.steps.findLast(({ status, afterMs }) => STATUSES.has(status) && message.acceptedAtMs + afterMs <= nowMs);
  return STATUSES.get(known?.status ?? '') ?? 'processing';
}

export type ActivityFilter = (message: AcceptedEmail, nowMs: number) => boolean;

function matches(text: string, { pattern, like }: Clause): boolean {
  if (!like) return text === pattern;
  const [openStart, openEnd] = [pattern.startsWith('%'), pattern.length > 1 && pattern.endsWith('%')];
  const bare = pattern.slice(openStart ? 1 : 0, openEnd ? -1 : undefined);
  if (openStart && openEnd) return text.includes(bare);
  if (openStart) return text.endsWith(bare);
  return openEnd ? text.startsWith(bare) : text === bare;
}

/** undefined: not a query the simulator understands. */
export function parseActivityQuery(query: string): ActivityFilter | undefined {
  const clauses: Clause[] = [];
  const parser = new RegExp(CLAUSE);
  while (parser.lastIndex < query.length) {
    const found = parser.exec(query);
    if (found === null || clauses.length === MAX_CLAUSES) return undefined;
    const [, argument, field, operator = '', pattern = ''] = found;
    if (field !== undefined && !FIELDS.has(field.toLowerCase())) return undefined;
    clauses.push({ argument, field: field?.toLowerCase(), pattern, like: operator.toUpperCase() === 'LIKE' });
  }
  if (clauses.length === 0) return undefined;
  return (message, nowMs) =>
    clauses.every((clause) => {
      const text = clause.argument === undefined ? FIELDS.get(clause.field ?? '')?.(message, nowMs) : message.args[clause.argument];
      return text !== undefined && matches(text, clause);
    });
}

const countOf = (message: AcceptedEmail, event: string): number => message.steps.filter(({ status }) => status === event).length;

export function activityOf(message: AcceptedEmail, nowMs: number): unknown {
  return {
    from_email: message.from,
    msg_id: message.sgMessageId,
    subject: message.subject,
    to_email: message.to,
    status: activityStatus(message, nowMs),
    opens_count: countOf(message, 'open'),
    clicks_count: countOf(message, 'click'),
    last_event_time: new Date(message.acceptedAtMs + (stepAt(message, nowMs)?.afterMs ?? 0)).toISOString().replace(/\.\d+Z$/, 'Z'),
  };
}
