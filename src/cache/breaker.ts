/** Stops asking a Redis that does not answer, so that each read loses at most a few command time-outs to it. */
export interface Breaker {
  /** False while open; true lets one trial through when the pause is over. */
  allows(): boolean;
  succeeded(): void;
  failed(): void;
}

export interface BreakerOptions {
  readonly failuresToOpen: number;
  readonly pauseMs: number;
  readonly nowMs: () => number;
  readonly onChange: (open: boolean) => void;
}

export function createBreaker({ failuresToOpen, pauseMs, nowMs, onChange }: BreakerOptions): Breaker {
  let failures = 0;
  let openUntilMs: number | undefined;
  return {
    allows() {
      if (openUntilMs === undefined) return true;
      if (nowMs() < openUntilMs) return false;
      // Others keep waiting while this one tries.
      openUntilMs = nowMs() + pauseMs;
      return true;
    },
    succeeded() {
      failures = 0;
      if (openUntilMs === undefined) return;
      openUntilMs = undefined;
      onChange(false);
    },
    failed() {
      failures += 1;
      if (failures < failuresToOpen) return;
      if (openUntilMs === undefined) onChange(true);
      openUntilMs = nowMs() + pauseMs;
    },
  };
}
