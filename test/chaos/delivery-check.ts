/** What was sent, held against what was acknowledged: nothing lost, nothing twice, and what nobody can know is marked. */
import { setTimeout as wait } from 'node:timers/promises';
import type pg from 'pg';
import type { Simulator } from '../../src/dev/simulator.ts';
import type { AcceptedMessage } from '../../src/dev/simulator-journal.ts';

export interface Findings {
  readonly acknowledged: number;
  /** By status, and by reason where they failed. */
  readonly outcomes: Readonly<Record<string, number>>;
  /** Acknowledged, and not in the database, or in it without having come to an end. */
  readonly lost: number;
  /** SENT or DELIVERED here, and the provider never saw it. */
  readonly invented: number;
  /** The provider accepted it more than once. */
  readonly twice: number;
  /** FAILED as OUTCOME_UNKNOWN: the provider has it, or has not, and nobody told. */
  readonly marked: number;
  /** Of those, the ones that the provider has. */
  readonly markedAndSent: number;
  /** Of those, the ones that nobody was asked about when the provider went away; 0 where it never did. */
  readonly markedWithoutCause: number;
  /** The provider was told that its report of a delivery was taken, and the message is not DELIVERED. */
  readonly unheard: number;
  /** The provider has it, and it is FAILED here for another reason than the provider's own. */
  readonly deniedAlthoughSent: number;
  /** Conversations whose messages reached the provider in another order than they were accepted in. */
  readonly outOfOrder: number;
  /** Conversations whose counters or sequence are not what a recount gives. */
  readonly miscounted: number;
  /** Events of providers that were recorded more than once. */
  readonly eventsTwice: number;
}

const PATIENCE_MS = 180_000;
const POLL_MS = 250;

/** What the queue waits for. */
const JOBS = `
  select j.task_identifier as task, j.attempts, left(j.last_error, 80) as error, (j.run_at - now())::text as due,
    j.locked_by, (now() - j.locked_at)::text as locked_for, (now() - w.seen_at)::text as last_seen, count(*)::integer as jobs
  from graphile_worker.jobs j left join queue_workers w on w.pool_id = j.locked_by group by 1, 2, 3, 4, 5, 6, 7 order by 8 desc limit 40`;

/** Resolves when nothing is under way any more; throws when that takes too long. */
export async function untilSettled(sql: pg.Pool, simulator: Simulator): Promise<void> {
  const untilMs = performance.now() + PATIENCE_MS;
  for (;;) {
    const { rows } = await sql.query<{ count: number }>(`select count(*)::integer as count from messages where status = 'pending'`);
    const pending = rows[0]?.count ?? 0;
    if (pending === 0) break;
    if (performance.now() > untilMs) {
      console.table((await sql.query(JOBS)).rows);
      throw new Error(`${pending} messages are still PENDING after ${PATIENCE_MS / 1_000} s; above are the jobs of the queue`);
    }
    await wait(POLL_MS);
  }
  await simulator.idle();
}

interface MessageRow {
  readonly id: string;
  readonly conversation_id: string;
  readonly sequence: number;
  readonly status: string;
  readonly reason: string | null;
  readonly code: string | null;
}

const MISCOUNTED = `
  select count(*)::integer as count from conversations c
  left join lateral (select count(*) as messages from messages m where m.conversation_id = c.id) m on true
  left join lateral (
    select count(*) as events, count(distinct sequence) as sequences, coalesce(max(sequence), 0) as last
    from message_events e where e.conversation_id = c.id
  ) e on true
  where c.message_count <> m.messages or c.last_sequence <> e.last or e.events <> e.sequences or e.events <> e.last`;
const EVENTS_TWICE = `
  select count(*)::integer as count from (
    select 1 from message_events where provider_event_id is not null group by provider, provider_event_id having count(*) > 1
  ) repeated`;

const countOf = async (sql: pg.Pool, text: string): Promise<number> => (await sql.query<{ count: number }>(text)).rows[0]?.count ?? 0;

/** Conversations in which a later message was accepted by the provider before an earlier one. */
function outOfOrder(rows: readonly MessageRow[], simulator: Simulator): number {
  const latest = new Map<string, number>();
  const wrong = new Set<string>();
  for (const { id, conversation_id: conversation } of rows.toSorted((left, right) => left.sequence - right.sequence)) {
    const at = simulator.journal.ofMessage(id)[0]?.acceptedAtMs;
    if (at === undefined) continue;
    if (at < (latest.get(conversation) ?? 0)) wrong.add(conversation);
    latest.set(conversation, at);
  }
  return wrong.size;
}

/** Messages that were given up although their request was not under way at `goneAt`, within a provider's time-out of this test. */
async function countWithoutCause(sql: pg.Pool, goneAt: Date): Promise<number> {
  const { rows } = await sql.query<{ count: number }>(
    `select count(*)::integer as count from delivery_attempts
     where outcome = 'given_up' and not started_at between $1::timestamptz - interval '2 seconds' and $1::timestamptz + interval '0.5 seconds'`,
    [goneAt],
  );
  return rows[0]?.count ?? 0;
}

const wasToldDelivered = ({ callbacks }: AcceptedMessage): boolean =>
  callbacks.some(({ status, answer }) => status === 'delivered' && typeof answer === 'number' && answer < 300);

/** A report of a failure carries the provider's code; a verdict of ours does not come from one. */
const OWN_REASONS = new Set(['expired', 'attempts_exhausted', 'canceled']);

export interface CheckOptions {
  readonly sql: pg.Pool;
  readonly simulator: Simulator;
  /** Ids. */
  readonly acknowledged: readonly string[];
  /** When the provider went away; undefined: it never did. */
  readonly goneAt: Date | undefined;
}

export async function check({ sql, simulator, acknowledged, goneAt }: CheckOptions): Promise<Findings> {
  const { rows } = await sql.query<MessageRow>(`
    select id, conversation_id, sequence, status, failure ->> 'reason' as reason, failure ->> 'providerCode' as code from messages`);
  const byId = new Map(rows.map((row) => [row.id, row]));
  const sentTimes = (id: string): number => simulator.journal.ofMessage(id).length;
  const outcomes: Record<string, number> = {};
  for (const { status, reason } of rows) {
    const outcome = reason === null ? status : `${status}: ${reason}`;
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  }
  const unknown = rows.filter(({ reason }) => reason === 'outcome_unknown');
  return {
    acknowledged: acknowledged.length,
    outcomes,
    lost: acknowledged.filter((id) => (byId.get(id)?.status ?? 'pending') === 'pending').length,
    invented: rows.filter(({ id, status }) => (status === 'sent' || status === 'delivered') && sentTimes(id) === 0).length,
    twice: rows.filter(({ id }) => sentTimes(id) > 1).length,
    marked: unknown.length,
    markedAndSent: unknown.filter(({ id }) => sentTimes(id) > 0).length,
    markedWithoutCause: goneAt === undefined ? 0 : await countWithoutCause(sql, goneAt),
    unheard: rows.filter(({ id, status }) => status !== 'delivered' && simulator.journal.ofMessage(id).some(wasToldDelivered)).length,
    deniedAlthoughSent: rows.filter(({ id, reason }) => reason !== null && OWN_REASONS.has(reason) && sentTimes(id) > 0).length,
    outOfOrder: outOfOrder(rows, simulator),
    miscounted: await countOf(sql, MISCOUNTED),
    eventsTwice: await countOf(sql, EVENTS_TWICE),
  };
}

/** What must not be, in words; `mayBeUnknown`: the outcome of a request may have been lost, so that a message is marked. */
export function faultsOf(findings: Findings, mayBeUnknown: boolean): string[] {
  const mustBeNone = [
    ...(['lost', 'invented', 'twice', 'deniedAlthoughSent', 'markedWithoutCause', 'unheard'] as const),
    ...(['outOfOrder', 'miscounted', 'eventsTwice'] as const),
  ];
  const faults = mustBeNone.filter((name) => findings[name] > 0).map((name) => `${name}: ${findings[name]}`);
  if (!mayBeUnknown && findings.marked > 0) faults.push(`marked: ${findings.marked}`);
  return faults;
}

/** Of scenarios in which every report arrives: what is neither delivered nor marked. */
export function undelivered({ outcomes }: Findings): string[] {
  return Object.entries(outcomes)
    .filter(([outcome]) => outcome !== 'delivered' && outcome !== 'failed: outcome_unknown')
    .map(([outcome, count]) => `${outcome}: ${count}`);
}
