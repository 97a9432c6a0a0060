/** Answers, and items of streams, that their callers do not take. */
import type { Call } from './call.ts';
import type { Moment } from './connection.ts';
import { LISTENED_MS } from './patient-clock.ts';

interface Unread {
  readonly bytes: number;
  readonly since: Moment;
}

export interface Look {
  /** Calls of which nothing has been taken for WAITING_MS. */
  readonly waiting: readonly Call[];
  /** Those of them that have waited too long. */
  readonly late: readonly Call[];
}

/** Whoever reads has taken something by then, be it into the buffers of the network. */
const WAITING_MS = 1_000;
/** For an answer, or an item of a stream, to be taken whole. */
const UNREAD_TIMEOUT_MS = 60_000;

export class UnreadAnswers {
  #known = new Map<Call, Unread>();

  /** To be asked again and again. */
  look(running: Iterable<Call>, now: Moment): Look {
    const seen = new Map<Call, Unread>();
    const waiting: Call[] = [];
    const late: Call[] = [];
    for (const call of running) {
      const bytes = call.stream.writableLength;
      if (bytes === 0) continue;
      const before = this.#known.get(call);
      const unread = before?.bytes === bytes ? before : { bytes, since: now };
      seen.set(call, unread);
      const waitedMs = now.patientMs - unread.since.patientMs < LISTENED_MS ? 0 : now.nowMs - unread.since.nowMs;
      if (waitedMs > WAITING_MS) waiting.push(call);
      if (waitedMs > UNREAD_TIMEOUT_MS) late.push(call);
    }
    this.#known = seen;
    return { waiting, late };
  }
}
