/** How the simulator misbehaves, and the choice of what happens to one request. */
import type { Random } from './seeded-random.ts';
import { asFields, type Fields } from './simulator-json.ts';

/** What becomes of a request to send, in the order in which their shares are laid out. */
export const TROUBLES = [
  'fail',
  'unavailable',
  'throttle',
  'reject',
  'unauthorized',
  'dropAfterAccepting',
  'failAfterAccepting',
  'stallAfterAccepting',
  'dropBeforeAccepting',
] as const;
export type Trouble = (typeof TROUBLES)[number];

export type PhoneOutcome = 'delivered' | 'undelivered' | 'failed' | 'none';
export type EmailOutcome = 'delivered' | 'bounce' | 'blocked' | 'dropped' | 'none';
/** Relative: { delivered: 9, failed: 1 } fails one in ten. What is not named never happens. */
export type Weights<Outcome extends string> = Readonly<Partial<Record<Outcome, number>>>;
export type RangeMs = readonly [leastMs: number, mostMs: number];

/**
 * Shares are of all requests to send, from 0 to 1, and those of the troubles add up to 1 at most: one random number decides.
 * The default is a provider that is well.
 */
export interface Faults {
  /** HTTP 500; nothing is accepted. */
  readonly fail: number;
  /** HTTP 503; nothing is accepted. */
  readonly unavailable: number;
  /** HTTP 429 with Retry-After; Twilio's code 20429. */
  readonly throttle: number;
  /** HTTP 400 with rejectCode; from SendGrid as an invalid address. */
  readonly reject: number;
  /** HTTP 401; Twilio's code 20003. */
  readonly unauthorized: number;
  /** Accepted, callbacks and all, and the connection is cut in place of an answer. */
  readonly dropAfterAccepting: number;
  /** Accepted, and answered with HTTP 500. */
  readonly failAfterAccepting: number;
  /** Accepted, and never answered. */
  readonly stallAfterAccepting: number;
  /** The connection is cut, and nothing was accepted. */
  readonly dropBeforeAccepting: number;

  readonly rejectCode: number;
  readonly retryAfterSeconds: number;
  /** Before every answer; what was accepted is accepted before it. */
  readonly delayMs: number;
  /** Share of the lookups answered with HTTP 500. */
  readonly lookupFail: number;
  /** Lookups do not know a message before it is so old. */
  readonly lookupLagMs: number;

  /** Off: a message meets its fate, and nobody is told. */
  readonly callbacks: boolean;
  /** Also tells of the steps on the way: queued and sending, deferred. */
  readonly everyStatus: boolean;
  /** Between one status of a message and its next. */
  readonly callbackDelayMs: RangeMs;
  /** Share of the callbacks that come more than once: at the same time, or after the last one. */
  readonly duplicate: number;
  readonly duplicateCopies: number;
  /** Share of the messages whose callbacks come in random order. */
  readonly reorder: number;
  /** How messages end; `none` never hears the end. */
  readonly phoneOutcome: Weights<PhoneOutcome>;
  readonly emailOutcome: Weights<EmailOutcome>;
  readonly undeliveredCode: number;
  readonly failedCode: number;
}

const NO_FAULTS: Faults = {
  fail: 0,
  unavailable: 0,
  throttle: 0,
  reject: 0,
  unauthorized: 0,
  dropAfterAccepting: 0,
  failAfterAccepting: 0,
  stallAfterAccepting: 0,
  dropBeforeAccepting: 0,
  rejectCode: 21_211,
  retryAfterSeconds: 1,
  delayMs: 0,
  lookupFail: 0,
  lookupLagMs: 0,
  callbacks: true,
  everyStatus: false,
  callbackDelayMs: [0, 0],
  duplicate: 0,
  duplicateCopies: 1,
  reorder: 0,
  phoneOutcome: { delivered: 1 },
  emailOutcome: { delivered: 1 },
  undeliveredCode: 30_003,
  failedCode: 30_008,
};

const MAX_DELAY_MS = 600_000;
const MAX_COPIES = 10;
const MAX_CODE = 99_999;

interface Rule {
  readonly is: string;
  holds(value: unknown): boolean;
}

function whole(least: number, most: number): Rule {
  const holds = (value: unknown) => typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most;
  return { is: `a whole number from ${least} to ${most}`, holds };
}

function weights(...outcomes: readonly string[]): Rule {
  const holds = (value: unknown) => {
    const entries = Object.entries(asFields(value) ?? {});
    const known = entries.every(([name, weight]) => outcomes.includes(name) && typeof weight === 'number' && weight >= 0);
    return known && entries.some(([, weight]) => Number(weight) > 0);
  };
  return { is: `weights of ${outcomes.join(', ')}, one of them above 0`, holds };
}

const SHARE: Rule = { is: 'a share from 0 to 1', holds: (value) => typeof value === 'number' && value >= 0 && value <= 1 };
const SWITCH: Rule = { is: 'true or false', holds: (value) => typeof value === 'boolean' };
const MS = whole(0, MAX_DELAY_MS);
const RANGE: Rule = {
  is: '[least, most] milliseconds',
  holds: (value) => Array.isArray(value) && value.length === 2 && value.every(MS.holds) && value[0] <= value[1],
};

const RULES: Readonly<Record<keyof Faults, Rule>> = {
  fail: SHARE,
  unavailable: SHARE,
  throttle: SHARE,
  reject: SHARE,
  unauthorized: SHARE,
  dropAfterAccepting: SHARE,
  failAfterAccepting: SHARE,
  stallAfterAccepting: SHARE,
  dropBeforeAccepting: SHARE,
  rejectCode: whole(10_000, MAX_CODE),
  retryAfterSeconds: whole(0, MAX_DELAY_MS / 1_000),
  delayMs: MS,
  lookupFail: SHARE,
  lookupLagMs: MS,
  callbacks: SWITCH,
  everyStatus: SWITCH,
  callbackDelayMs: RANGE,
  duplicate: SHARE,
  duplicateCopies: whole(1, MAX_COPIES),
  reorder: SHARE,
  phoneOutcome: weights('delivered', 'undelivered', 'failed', 'none'),
  emailOutcome: weights('delivered', 'bounce', 'blocked', 'dropped', 'none'),
  undeliveredCode: whole(10_000, MAX_CODE),
  failedCode: whole(10_000, MAX_CODE),
};

/** All faults from those that are named, from JSON too; the others are off. Throws a RangeError that says what is wrong. */
export function faultsOf(named: Fields | Partial<Faults>): Faults {
  for (const [name, value] of Object.entries(named)) {
    const rule = Object.hasOwn(RULES, name) ? RULES[name as keyof Faults] : undefined;
    if (rule === undefined) throw new RangeError(`there is no fault ${JSON.stringify(name)}; there are ${Object.keys(RULES).join(', ')}`);
    if (!rule.holds(value)) throw new RangeError(`${name} must be ${rule.is}`);
  }
  const faults = { ...NO_FAULTS, ...named } as Faults;
  const sum = TROUBLES.reduce((shares, trouble) => shares + faults[trouble], 0);
  if (sum > 1 + Number.EPSILON * TROUBLES.length) throw new RangeError(`${TROUBLES.join(', ')} add up to ${sum}, more than 1`);
  return faults;
}

/** undefined: none. Takes one number from `random`, whatever the faults are. */
export function troubleOf(faults: Faults, random: Random): Trouble | undefined {
  const drawn = random();
  let upTo = 0;
  for (const trouble of TROUBLES) {
    upTo += faults[trouble];
    if (drawn < upTo) return trouble;
  }
  return undefined;
}
