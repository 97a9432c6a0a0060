/** When to try again. Exponential with jitter, so that messages refused together do not come back together. */

export interface RetryPolicy {
  /** Wait after the first refusal, in ms; doubles with each. */
  readonly retryBaseMs: number;
  readonly retryMaxMs: number;
}

/** In ms. `refusals`: how many there were, this one included. `random`: 0 to 1. `askedForMs`: what the provider asked for, and gets. */
export function retryDelayMs(refusals: number, random: number, { retryBaseMs, retryMaxMs }: RetryPolicy, askedForMs = 0): number {
  const planned = Math.min(retryMaxMs, retryBaseMs * 2 ** Math.min(refusals - 1, 30));
  // Half of it at least, half as much again at most; above what was asked for, for the same reason.
  const jittered = planned * (0.5 + random);
  return Math.round(Math.max(jittered, askedForMs + retryBaseMs * random));
}
