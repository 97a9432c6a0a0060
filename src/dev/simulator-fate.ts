/** What will become of an accepted message, and in what order we are told: settled when it is accepted, so that a seed repeats it. */
import type { Random } from './seeded-random.ts';
import type { EmailOutcome, Faults, PhoneOutcome, RangeMs, Weights } from './simulator-faults.ts';

export interface Step {
  /** The provider's word. */
  readonly status: string;
  /** Twilio's error code, when it says that the message failed. */
  readonly code: number | undefined;
  /** Since the message was accepted. */
  readonly afterMs: number;
}

/** Callbacks that are posted at the same time. */
export interface Slot {
  /** Since the slot before it was first answered. */
  readonly waitMs: number;
  readonly steps: readonly Step[];
}

export interface Fate {
  readonly steps: readonly Step[];
  /** Empty when nobody is told. */
  readonly slots: readonly Slot[];
}

const PHONE_COURSE: Readonly<Record<PhoneOutcome, readonly string[]>> = {
  delivered: ['queued', 'sending', 'sent', 'delivered'],
  undelivered: ['queued', 'sending', 'sent', 'undelivered'],
  failed: ['queued', 'failed'],
  none: ['queued', 'sending', 'sent'],
};

const EMAIL_COURSE: Readonly<Record<EmailOutcome, readonly string[]>> = {
  delivered: ['processed', 'deferred', 'delivered'],
  bounce: ['processed', 'bounce'],
  blocked: ['processed', 'blocked'],
  dropped: ['dropped'],
  none: ['processed'],
};

/** Told only when every status is. */
const ON_THE_WAY: ReadonlySet<string> = new Set(['queued', 'sending', 'deferred']);

function weighted<Outcome extends string>(weights: Weights<Outcome>, random: Random): Outcome {
  const entries = Object.entries(weights) as [Outcome, number][];
  let left = random() * entries.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [outcome, weight] of entries) {
    left -= weight;
    if (left < 0) return outcome;
  }
  // Rounding may leave a trace; the last one that can happen takes it.
  const last = entries.findLast(([, weight]) => weight > 0);
  if (last === undefined) throw new RangeError('nothing can happen');
  return last[0];
}

function shuffle<Item>(items: Item[], random: Random): void {
  for (let last = items.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    const [left, right] = [items[last], items[other]];
    if (left !== undefined && right !== undefined) [items[last], items[other]] = [right, left];
  }
}

const within = ([least, most]: RangeMs, random: Random): number => least + Math.floor(random() * (most - least + 1));

/** Copies come with the original, or after everything else. */
function toldSteps(steps: readonly Step[], faults: Faults, random: Random): Step[][] {
  const told = steps.map((step) => [step]);
  const late: Step[][] = [];
  for (const slot of [...told]) {
    if (random() >= faults.duplicate) continue;
    for (let copy = 0; copy < faults.duplicateCopies; copy += 1) {
      if (random() < 0.5) slot.push(...slot.slice(0, 1));
      else late.push(slot.slice(0, 1));
    }
  }
  const all = [...told, ...late];
  if (random() < faults.reorder) shuffle(all, random);
  return all;
}

export function fateOf(channel: 'phone' | 'email', faults: Faults, random: Random): Fate {
  const course =
    channel === 'phone' ? PHONE_COURSE[weighted(faults.phoneOutcome, random)] : EMAIL_COURSE[weighted(faults.emailOutcome, random)];
  const codes: Readonly<Record<string, number>> = { undelivered: faults.undeliveredCode, failed: faults.failedCode };
  const gapsMs: number[] = [];
  const steps: Step[] = [];
  let afterMs = 0;
  for (const status of course) {
    if (ON_THE_WAY.has(status) && !faults.everyStatus) continue;
    const gapMs = within(faults.callbackDelayMs, random);
    gapsMs.push(gapMs);
    afterMs += gapMs;
    steps.push({ status, code: codes[status], afterMs });
  }
  if (!faults.callbacks) return { steps, slots: [] };
  const told = toldSteps(steps, faults, random);
  // In order, a status is told when it is reached; copies that come late keep a distance of their own.
  return { steps, slots: told.map((slot, index) => ({ waitMs: gapsMs[index] ?? within(faults.callbackDelayMs, random), steps: slot })) };
}
