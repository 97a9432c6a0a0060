/** The dispatcher over a real database, with a provider that answers by script, a clock that stands, and jobs that run when told. */
import pg from 'pg';
import { v7 as uuidv7 } from 'uuid';
import { openDatabase } from '../../src/db/database.ts';
import type { Upkeep } from '../../src/domain/delivery-ports.ts';
import { DomainError } from '../../src/domain/errors.ts';
import type { Provider } from '../../src/domain/message.ts';
import type { Store } from '../../src/domain/ports.ts';
import type { LookupOutcome, LostSubmission, ProviderClient, Submission, SubmissionOutcome } from '../../src/domain/provider-client.ts';
import { createDispatchMessage } from '../../src/services/dispatch-message.ts';
import type { DispatchPolicy } from '../../src/services/dispatch-parts.ts';
import { createDatabase } from './database.ts';
import { type UseCases, useCases } from './use-cases.ts';

/** Answers in order; the last one for ever. A function is called when the provider is asked, and may do what it likes meanwhile. */
export type Script = readonly (SubmissionOutcome | ((submission: Submission) => Promise<SubmissionOutcome>))[];

export interface ScriptedProvider extends ProviderClient {
  readonly submitted: readonly Submission[];
  readonly lookedUp: readonly LostSubmission[];
  answers(...script: Script): void;
  knows(outcome: LookupOutcome): void;
  unavailableFor(ms: number): void;
}

export interface Job {
  readonly messageId: string;
  readonly runAt: Date;
}

export interface DispatchWorld extends AsyncDisposable {
  readonly cases: UseCases;
  readonly provider: ScriptedProvider;
  readonly upkeep: Upkeep;
  readonly sql: pg.Client;
  readonly outcomes: readonly string[];
  /** Reasons, in the order in which messages were given up. */
  readonly deadLetters: readonly string[];
  /** The transaction after the next, in which an answer is recorded, commits without anybody learning of it. */
  losesNextReply(): void;
  /** No jobs, and a provider that takes everything. */
  reset(): Promise<void>;
  now(): Date;
  /** Lets time pass. */
  pass(ms: number): void;
  jobs(): Promise<readonly Job[]>;
  /** Runs the jobs that are due, oldest first, until none is. Returns how many that were. */
  runDue(): Promise<number>;
  /** Runs the job of one message whether it is due or not. */
  dispatch(messageId: string): Promise<void>;
  attempts(messageId: string): Promise<readonly { readonly attempt: number; readonly outcome: string }[]>;
}

/** Without an id: one of its own each time. */
export const accepted = (providerMessageId?: string) => async (): Promise<SubmissionOutcome> => ({
  kind: 'accepted',
  providerMessageId: providerMessageId ?? `SM${uuidv7()}`,
});
const failure = { reason: 'unreachable', providerCode: '503', providerMessage: '', retryable: true } as const;
export const transient = (retryAfterMs?: number): SubmissionOutcome => ({ kind: 'transient', failure, retryAfterMs });
export const unknown: SubmissionOutcome = { kind: 'unknown', failure: { ...failure, reason: 'outcome_unknown' } };
export const rejected: SubmissionOutcome = {
  kind: 'rejected',
  failure: { reason: 'invalid_destination', providerCode: '21211', providerMessage: '', retryable: false },
};

export const policy: DispatchPolicy = {
  retryBaseMs: 1_000,
  retryMaxMs: 60_000,
  maxAttempts: 3,
  callMs: 15_000,
  callbackWaitMs: 30_000,
  unknownWindowMs: 120_000,
};

/** More jobs than any test makes: one that schedules itself for now for ever is a defect. */
const MAX_RUNS = 2_000;

function scriptedProvider(provider: Provider): ScriptedProvider {
  const submitted: Submission[] = [];
  const lookedUp: LostSubmission[] = [];
  let script: Script = [];
  let found: LookupOutcome = { kind: 'absent' };
  let pauseMs = 0;
  return {
    provider,
    submitted,
    lookedUp,
    answers(...next) {
      script = next;
    },
    knows(outcome) {
      found = outcome;
    },
    unavailableFor(ms) {
      pauseMs = ms;
    },
    admit: async () => ({ [Symbol.dispose]: () => undefined }),
    unavailableForMs: () => pauseMs,
    async submit(submission) {
      submitted.push(submission);
      const [next, ...rest] = script;
      if (rest.length > 0) script = rest;
      if (next === undefined) return accepted()();
      return typeof next === 'function' ? next(submission) : next;
    },
    async lookUp(lost) {
      lookedUp.push(lost);
      return found;
    },
    health: () => ({ provider, breaker: 'closed' }),
    drain: () => undefined,
  };
}

interface JobRow {
  readonly id: string;
  readonly payload: { readonly messageId: string; readonly conversationId: string; readonly traceParent: string };
  readonly run_at: Date;
}

export async function openDispatchWorld(): Promise<DispatchWorld> {
  await using opening = new AsyncDisposableStack();
  const { url } = opening.use(await createDatabase());
  const database = opening.use(await openDatabase({ url, poolMax: 10, statementTimeoutMs: 60_000, connectTimeoutMs: 60_000 }));
  const sql = opening.adopt(new pg.Client({ connectionString: url }), (client) => client.end());
  await sql.connect();
  let nowMs = Date.parse('2026-11-28T10:00:00.000Z');
  const clock = { now: () => new Date(nowMs) };
  const { reads } = database;
  let untilLost = Number.POSITIVE_INFINITY;
  const store: Store = {
    async transaction(work, aroundCommit) {
      const result = await database.store.transaction(work, aroundCommit);
      untilLost -= 1;
      if (untilLost !== 0) return result;
      throw new DomainError('storage_unavailable', 'the reply to COMMIT was lost');
    },
  };
  const provider = scriptedProvider('twilio');
  const outcomes: string[] = [];
  const deadLetters: string[] = [];
  const dispatch = createDispatchMessage({
    store,
    clock,
    newId: uuidv7,
    random: () => 0.5,
    wait: async (ms) => {
      nowMs += ms;
    },
    policy,
    client: provider,
    currentTraceParent: () => '',
    observer: {
      attempt: (_, outcome) => outcomes.push(outcome),
      deadLetter: (_, reason) => deadLetters.push(reason),
      reached: () => undefined,
      suppressed: () => undefined,
    },
  });

  const rows = async (): Promise<readonly JobRow[]> =>
    (
      await sql.query<JobRow>(`select j.id, p.payload, j.run_at from graphile_worker.jobs j
        join graphile_worker._private_jobs p using (id) where j.key like 'message:%' order by j.run_at, j.id`)
    ).rows;
  /** As the queue does: a job that is running is not the one that is replaced. */
  async function run({ id, payload }: JobRow): Promise<void> {
    await sql.query('update graphile_worker._private_jobs set locked_at = now(), locked_by = $2 where id = $1', [id, 'test']);
    await dispatch(payload);
    await sql.query('delete from graphile_worker._private_jobs where id = $1', [id]);
  }

  const opened = opening.move();
  return {
    cases: useCases({ store, reads, clock }),
    provider,
    upkeep: database.upkeep,
    sql,
    outcomes,
    deadLetters,
    losesNextReply() {
      untilLost = 2;
    },
    async reset() {
      await sql.query('delete from graphile_worker._private_jobs');
      provider.answers();
      provider.knows({ kind: 'absent' });
      provider.unavailableFor(0);
    },
    now: clock.now,
    pass(ms) {
      nowMs += ms;
    },
    jobs: async () => (await rows()).map(({ payload, run_at }) => ({ messageId: payload.messageId, runAt: run_at })),
    async runDue() {
      for (let runs = 0; runs < MAX_RUNS; runs += 1) {
        const due = (await rows()).find(({ run_at }) => run_at.getTime() <= nowMs);
        if (due === undefined) return runs;
        await run(due);
      }
      throw new Error('jobs keep coming');
    },
    async dispatch(messageId) {
      const job = (await rows()).find(({ payload }) => payload.messageId === messageId);
      if (job === undefined) throw new Error(`message ${messageId} has no job`);
      await run(job);
    },
    async attempts(messageId) {
      const { rows: found } = await sql.query<{ attempt: number; outcome: string }>(
        'select attempt, outcome from delivery_attempts where message_id = $1 order by attempt',
        [messageId],
      );
      return found;
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}
