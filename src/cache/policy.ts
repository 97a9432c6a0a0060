/** What is worth caching, and for how long. Coherence does not depend on any of it. */
import { LRUCache } from 'lru-cache';
import type { CacheTier } from '../domain/ports.ts';
import { type ConversationView, isTerminal, type MessageView, versionOf } from '../domain/views.ts';

export interface PolicyOptions {
  /** A conversation of which no write was observed yet. */
  readonly ttlMs: number;
  /** A message that will hardly change any more; also the longest for a conversation. */
  readonly terminalTtlMs: number;
  /** A message under way; also the shortest for a conversation. */
  readonly inFlightTtlMs: number;
  readonly negativeTtlMs: number;
  /** A row is stored at its second miss within this time. 0: at the first. */
  readonly doorkeeperMs: number;
  /** How eagerly values are loaded again before they expire. 0: not at all; 1: optimal for the mean load time; more: earlier. */
  readonly refreshBeta: number;
}

/** Where a row belongs, and the life of its entry before jitter. */
export interface Placement {
  readonly tier: CacheTier;
  readonly ttlMs: number;
}

const JITTER = 0.1;
const MAX_DOORKEEPER_IDS = 100_000;

/** Entries that were filled together must not expire together. `random` is from 0 to 1. */
export function withJitter(ttlMs: number, random: number): number {
  return Math.round(ttlMs * (1 - JITTER + 2 * JITTER * random));
}

export function placeMessage(view: MessageView, { terminalTtlMs, inFlightTtlMs }: PolicyOptions): Placement {
  return isTerminal(view) ? { tier: 'terminal', ttlMs: terminalTtlMs } : { tier: 'in_flight', ttlMs: inFlightTtlMs };
}

const unixMs = (timestamp: { readonly seconds: bigint; readonly nanos: number } | undefined): number =>
  timestamp === undefined ? 0 : Number(timestamp.seconds) * 1_000 + timestamp.nanos / 1e6;

/** As long as its writes were apart so far, or as it has been left alone since the last one. */
export function placeConversation(view: ConversationView, options: PolicyOptions, unixNowMs: number): Placement {
  const { ttlMs, inFlightTtlMs, terminalTtlMs } = options;
  const [created, updated] = [unixMs(view.createdAt), unixMs(view.updatedAt)];
  const writes = versionOf(view) - 1;
  const meanGapMs = writes > 0 ? (updated - created) / writes : ttlMs;
  const gapMs = Math.max(meanGapMs, unixNowMs - updated);
  return { tier: gapMs > ttlMs ? 'quiet' : 'busy', ttlMs: Math.min(Math.max(gapMs, inFlightTtlMs), terminalTtlMs) };
}

/**
 * XFetch (Vattani et al., VLDB 2015): the nearer the end, the likelier a reader loads the value ahead of time, so that a hot entry does
 * not expire under all its readers at once.
 */
export function isRefreshDue(expiresInMs: number, loadMs: number, beta: number, random: number): boolean {
  return beta > 0 && expiresInMs <= -loadMs * beta * Math.log(random);
}

export interface Doorkeeper {
  /** Notes a miss; false when it is the first one for long. */
  admits(id: string): boolean;
}

export function createDoorkeeper(windowMs: number): Doorkeeper {
  if (windowMs === 0) return { admits: () => true };
  const missed = new LRUCache<string, true>({ max: MAX_DOORKEEPER_IDS, ttl: windowMs });
  return {
    admits(id) {
      if (missed.has(id)) return true;
      missed.set(id, true);
      return false;
    },
  };
}
