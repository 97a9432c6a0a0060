/**
 * A clock for what peers leave undone: while this process is too busy to hear them it stands still, so that nobody is taken for slow or
 * silent whose bytes have come and were not read.
 */
const TICK_MS = 25;
/** Who has moved nothing in so much of it has been listened to several times. */
export const LISTENED_MS = 100;
/** What passes from one tick to the next at most. Between two the process has read what there was. */
const MOST_MS = 2 * TICK_MS;

export class PatientClock {
  readonly #wallMs: () => number;
  #tickedMs: number;
  #passedMs = 0;

  /** Monotonic, in ms. */
  constructor(wallMs: () => number) {
    this.#wallMs = wallMs;
    this.#tickedMs = wallMs();
  }

  /** Counted from its start. `wallMs`: for who has read that clock already. */
  nowMs(wallMs = this.#wallMs()): number {
    return this.#passedMs + Math.min(wallMs - this.#tickedMs, MOST_MS);
  }

  /** The process hears again. */
  tick(): void {
    this.#passedMs = this.nowMs();
    this.#tickedMs = this.#wallMs();
  }

  /** Ticks by itself until it is stopped. */
  run(): { stop(): void } {
    const timer = setInterval(() => this.tick(), TICK_MS).unref();
    return { stop: () => clearInterval(timer) };
  }
}
