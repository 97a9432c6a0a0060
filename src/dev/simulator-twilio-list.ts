/** Twilio's list of messages: its filters and its pages. */
import { type AcceptedText, isVisible, type Journal, stepAt } from './simulator-journal.ts';

const DEFAULT_PAGE_SIZE = 50;
const MAX_PAGE_SIZE = 1_000;
const MAX_PAGE = 100_000;
/** Twilio's token for "after this message": a prefix and its SID. */
const TOKEN_PREFIX = 'PA';
const DAY_MS = 86_400_000;

/** When it was sent, or, as long as it was not, accepted. */
export function sentAtMs(message: AcceptedText, nowMs: number): number | undefined {
  const sent = message.steps.find(({ status }) => status === 'sent' || status === 'delivered');
  if (sent === undefined) return undefined;
  const atMs = message.acceptedAtMs + sent.afterMs;
  return atMs <= nowMs ? atMs : undefined;
}

function wholeNumber(text: string | null, otherwise: number, most: number): number {
  return text !== null && /^\d{1,7}$/.test(text) ? Math.min(Number(text), most) : otherwise;
}

/** Seconds are as fine as Twilio's times are. */
const toSecond = (ms: number): number => Math.floor(ms / 1_000) * 1_000;

type Filter = (message: AcceptedText) => boolean;

function filterOf(query: URLSearchParams, nowMs: number): Filter {
  const [to, from] = [query.get('To'), query.get('From')];
  const [on, until, since] = ['DateSent', 'DateSent<', 'DateSent>'].map((name) => query.get(name));
  const [onMs, untilMs, sinceMs] = [on, until, since].map((text) => (text ? Date.parse(text) : Number.NaN));
  const isDay = on?.length === 'YYYY-MM-DD'.length;
  return (message) => {
    if (to !== null && message.to !== to) return false;
    if (from !== null && message.from !== from) return false;
    // A date that is none compares as false, and filters nothing.
    const atMs = toSecond(sentAtMs(message, nowMs) ?? message.acceptedAtMs);
    if (atMs > Number(untilMs) || atMs < Number(sinceMs)) return false;
    const from_ = Number(onMs);
    return !(atMs < from_ || atMs >= from_ + (isDay ? DAY_MS : 1_000));
  };
}

export interface PageRequest {
  readonly path: string;
  readonly query: URLSearchParams;
  readonly lagMs: number;
  readonly nowMs: number;
  resource(message: AcceptedText): unknown;
}

/** Newest first. A page follows the message that its token names, or, without one, begins at Page times PageSize. */
export function listPage(journal: Journal, { path, query, lagMs, nowMs, resource }: PageRequest): unknown {
  const pageSize = Math.max(1, wholeNumber(query.get('PageSize'), DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE));
  const page = wholeNumber(query.get('Page'), 0, MAX_PAGE);
  const after = query.get('PageToken')?.slice(TOKEN_PREFIX.length);
  const matches = filterOf(query, nowMs);
  const found: AcceptedText[] = [];
  let skipped = after === undefined ? page * pageSize : 0;
  let begun = after === undefined;
  for (const message of journal.newestFirst()) {
    if (message.provider !== 'twilio') continue;
    if (!begun) {
      begun = message.providerMessageId === after;
      continue;
    }
    if (!isVisible(message, lagMs, nowMs) || !matches(message)) continue;
    if (skipped > 0) skipped -= 1;
    else if (found.push(message) > pageSize) break;
  }
  const shown = found.slice(0, pageSize);
  const start = page * pageSize;
  const uri = (number: number, token?: string) => {
    const parameters = new URLSearchParams([...query].filter(([name]) => name !== 'Page' && name !== 'PageSize' && name !== 'PageToken'));
    parameters.append('PageSize', String(pageSize));
    parameters.append('Page', String(number));
    if (token !== undefined) parameters.append('PageToken', token);
    return `${path}?${parameters.toString()}`;
  };
  return {
    first_page_uri: uri(0),
    end: Math.max(start, start + shown.length - 1),
    previous_page_uri: page === 0 ? null : uri(page - 1),
    messages: shown.map(resource),
    uri: uri(page, query.get('PageToken') ?? undefined),
    page_size: pageSize,
    start,
    next_page_uri: found.length > pageSize ? uri(page + 1, `${TOKEN_PREFIX}${shown.at(-1)?.providerMessageId}`) : null,
    page,
  };
}

/** Twilio's word for where the message is now. */
export function statusOf(message: AcceptedText, nowMs: number): string {
  return stepAt(message, nowMs)?.status ?? (message.messagingServiceSid === undefined ? 'queued' : 'accepted');
}
