/** Many calls of which some may fail: a few at a time, with progress, and what became of each. */
import { MessagingError, status } from '../client/messaging-client.ts';
import { Failed } from './command.ts';
import type { Output } from './output.ts';
import { showProgress } from './progress.ts';

const AT_ONCE = 8;

export interface Outcome {
  readonly id: string;
  readonly result: 'done' | 'skipped' | 'failed';
  /** Why not. */
  readonly detail: string;
}

/** What concerns all of them, not this one: then there is no point in going on. */
const ENDS_ALL: readonly status[] = [status.UNAVAILABLE, status.UNAUTHENTICATED, status.PERMISSION_DENIED, status.CANCELLED];

type Step = (id: string) => Promise<Outcome>;

export async function outcomeOf(id: string, call: () => Promise<unknown>): Promise<Outcome> {
  try {
    await call();
    return { id, result: 'done', detail: '' };
  } catch (error) {
    if (!(error instanceof MessagingError) || ENDS_ALL.includes(error.code)) throw error;
    return { id, result: 'failed', detail: error.reason || error.message };
  }
}

export async function forEachOf(what: string, ids: readonly string[], step: Step, output: Output): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = [];
  const progress = showProgress(what, output.json, process.stderr);
  const waiting = ids.values();
  const work = async () => {
    for (const id of waiting) {
      const outcome = await step(id);
      outcomes.push(outcome);
      if (output.json) output.jsonLine({ ...outcome });
      progress.update(outcomes.length, ids.length);
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  } finally {
    progress[Symbol.dispose]();
  }
  return outcomes;
}

/** What became of all; those that were not done by name. Throws Failed when one failed. */
export function tellOutcomes(outcomes: readonly Outcome[], output: Output): void {
  const others = outcomes.filter(({ result }) => result !== 'done');
  if (!output.json) {
    if (others.length > 0) {
      output.table(
        [{ name: 'id' }, { name: 'result' }, { name: 'why', cut: true }],
        others.map(({ id, result, detail }) => [id, result, detail]),
      );
    }
    output.line(`${outcomes.length - others.length} of ${outcomes.length} replayed.`);
  }
  const failed = others.filter(({ result }) => result === 'failed').length;
  if (failed > 0) throw new Failed(`${failed} of ${outcomes.length} could not be replayed.`);
}
