/** Posting a callback again, as the providers do. */
import type { Timeouts, WebhookAnswer, WebhookPoster, WebhookRequest } from './simulator-poster.ts';

export type RetryCause = '3xx' | '4xx' | '5xx' | 'connect' | 'read';

export interface RetryPolicy extends Timeouts {
  readonly retries: number;
  readonly on: ReadonlySet<RetryCause>;
  /** Nothing is tried again once this much time has passed since the first try. */
  readonly totalMs: number;
}

export interface PostOutcome {
  readonly answer: WebhookAnswer;
  readonly tries: number;
}

export interface Posting {
  /** Settles with the first answer, or the lack of one. */
  readonly firstTry: Promise<void>;
  /** Settles when it was accepted or given up. */
  readonly done: Promise<PostOutcome>;
}

const MAX_PAUSE_MS = 5_000;

/** undefined: no reason to try again. */
function causeOf(answer: WebhookAnswer): RetryCause | undefined {
  if (answer.kind === 'unanswered') return answer.reason === 'connect' || answer.reason === 'read' ? answer.reason : undefined;
  if (answer.status >= 500) return '5xx';
  if (answer.status >= 400) return '4xx';
  return answer.status >= 300 ? '3xx' : undefined;
}

export interface PatientOptions {
  readonly poster: WebhookPoster;
  readonly policy: RetryPolicy;
  /** Pause before the first retry; it doubles from one to the next. */
  readonly firstPauseMs: number;
  /** Called for every try: what is signed with the time is signed anew. */
  request(): WebhookRequest;
  onAnswer(answer: WebhookAnswer): void;
}

/** Neither promise rejects. */
export function postPatiently({ poster, policy, firstPauseMs, request, onAnswer }: PatientOptions): Posting {
  const firstTry = Promise.withResolvers<void>();
  const post = async (): Promise<PostOutcome> => {
    const givesUpAtMs = performance.now() + policy.totalMs;
    for (let tries = 1; ; tries += 1) {
      const answer = await poster.post(request(), policy);
      onAnswer(answer);
      firstTry.resolve();
      const cause = causeOf(answer);
      const pauseMs = Math.min(firstPauseMs * 2 ** (tries - 1), MAX_PAUSE_MS);
      const outOfTime = performance.now() + pauseMs > givesUpAtMs;
      if (cause === undefined || !policy.on.has(cause) || tries > policy.retries || outOfTime) return { answer, tries };
      if (!(await poster.wait(pauseMs))) return { answer: { kind: 'unanswered', reason: 'cancelled' }, tries };
    }
  };
  return { firstTry: firstTry.promise, done: poster.track(post()) };
}
