/** Tells our service what becomes of accepted messages: runs each fate, slot by slot, beside the answers to the sender. */
import type { Slot, Step } from './simulator-fate.ts';
import type { AcceptedMessage, Journal } from './simulator-journal.ts';
import type { WebhookPoster } from './simulator-poster.ts';
import type { Posting, PostOutcome } from './simulator-retries.ts';

/** How a provider tells of one status; copies of a step of one message are given the same step. */
export type Tell = (message: AcceptedMessage, step: Step) => Posting;

export interface CallbacksOptions {
  readonly poster: WebhookPoster;
  readonly journal: Journal;
  readonly now: () => number;
  readonly tell: Tell;
}

export class Callbacks {
  readonly #options: CallbacksOptions;

  constructor(options: CallbacksOptions) {
    this.#options = options;
  }

  /** Returns at once. A slot waits for the first answer to the one before it, not for its retries, which it may overtake. */
  launch(message: AcceptedMessage, slots: readonly Slot[]): void {
    const { poster } = this.#options;
    const run = async () => {
      for (const { waitMs, steps } of slots) {
        if (!(await poster.wait(waitMs))) return;
        await Promise.all(steps.map((step) => this.#tell(message, step).firstTry));
      }
    };
    void poster.track(run());
  }

  /** Reports something on demand, and resolves when it was accepted or given up. */
  async report(
    message: AcceptedMessage,
    { status, code }: { readonly status: string; readonly code: number | undefined },
  ): Promise<PostOutcome> {
    const step: Step = { status, code, afterMs: this.#options.now() - message.acceptedAtMs };
    message.steps.push(step);
    return await this.#tell(message, step).done;
  }

  #tell(message: AcceptedMessage, step: Step): Posting {
    const { tell, journal, poster, now } = this.#options;
    const posting = tell(message, step);
    const recorded = async (): Promise<PostOutcome> => {
      const { answer, tries } = await posting.done;
      const told = answer.kind === 'answered' ? answer.status : answer.reason;
      journal.addCallback(message, { status: step.status, tries, answer: told, atMs: now() });
      return { answer, tries };
    };
    return { firstTry: posting.firstTry, done: poster.track(recorded()) };
  }
}
