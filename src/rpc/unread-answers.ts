/** Answers, and items of streams, that their callers do not take. */
import type { Call } from './call.ts';

interface Unread {
  readonly bytes: number;
  readonly sinceMs: number;
}

/** For an answer, or an item of a stream, to be taken whole. */
const UNREAD_TIMEOUT_MS = 60_000;

export class UnreadAnswers {
  #known = new Map<Call, Unread>();

  /** Returns the calls whose answers have waited too long. To be asked again and again. */
  look(running: Iterable<Call>, nowMs: number): readonly Call[] {
    const seen = new Map<Call, Unread>();
    const late: Call[] = [];
    for (const call of running) {
      const bytes = call.stream.writableLength;
      if (bytes === 0) continue;
      const before = this.#known.get(call);
      const unread = before?.bytes === bytes ? before : { bytes, sinceMs: nowMs };
      seen.set(call, unread);
      if (nowMs - unread.sinceMs > UNREAD_TIMEOUT_MS) late.push(call);
    }
    this.#known = seen;
    return late;
  }
}
