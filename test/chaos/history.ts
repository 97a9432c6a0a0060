/**
 * Whether answers were linearizable, decided as they come. The versions of a row are a total order, so a read that was invoked at t must
 * return at least every version that was acknowledged to a writer, or returned to a reader, before t. Nothing is asked of what ran at the
 * same time, and nothing of a write whose outcome nobody knows.
 */

/** What a read showed: the row's version, or that there is no such row. */
export type Seen = number | 'absent';

export interface Verdict {
  /** Older than a write that had been acknowledged. */
  readonly stale: boolean;
  /** Older than what another reader had been given. */
  readonly backward: boolean;
  /** How long ago the answer had been overtaken when the read was invoked; 0 for a right one. */
  readonly ageMs: number;
}

export interface History {
  /** The row was seen at this version while nothing wrote it. What is told of it later began later. */
  began(key: string, version: number, atMs: number): void;
  /** A write that made this version was acknowledged. */
  acknowledged(key: string, version: number, atMs: number): void;
  /** A write that made some version of this row was acknowledged. */
  acknowledgedSome(key: string, atMs: number): void;
  /** From now on the row may be gone: whatever says so may be right. */
  deletionBegan(key: string): void;
  deleted(key: string, atMs: number): void;
  /**
   * A change that the service learns of afterwards is about to be made. Until the returned function is called readers may see it or not,
   * in any order.
   */
  allowance(key: string): () => void;
  /** Times must not run backwards from call to call: call it when the answer arrives. */
  read(key: string, seen: Seen, invokedMs: number, returnedMs: number): Verdict;
}

/** Newer than every version: rows do not come back. */
const GONE = Number.POSITIVE_INFINITY;
const RIGHT: Verdict = { stale: false, backward: false, ageMs: 0 };

interface Step {
  readonly version: number;
  readonly atMs: number;
}

/** The highest version so far, over time. */
class Ascent {
  readonly #steps: Step[] = [];

  raise(version: number, atMs: number): void {
    if (version > (this.#steps.at(-1)?.version ?? 0)) this.#steps.push({ version, atMs });
  }

  /** The highest version of which somebody knew before this time. */
  before(atMs: number): number {
    return this.#steps.findLast((step) => step.atMs < atMs)?.version ?? 0;
  }

  /** When something newer than `version` was first known; undefined: never. */
  overtookAtMs(version: number): number | undefined {
    let [low, high] = [0, this.#steps.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#steps[middle]?.version ?? GONE) > version) high = middle;
      else low = middle + 1;
    }
    return this.#steps[low]?.atMs;
  }
}

interface Row {
  readonly acknowledged: Ascent;
  readonly returned: Ascent;
  /** Version while nothing was written, and acknowledged writes since, each of which raised it. */
  base: number;
  writes: number;
  deletionBegan: boolean;
  allowances: number;
}

export function createHistory(): History {
  const rows = new Map<string, Row>();
  let latestMs = Number.NEGATIVE_INFINITY;

  function rowOf(key: string): Row {
    let row = rows.get(key);
    if (row === undefined) {
      row = { acknowledged: new Ascent(), returned: new Ascent(), base: 0, writes: 0, deletionBegan: false, allowances: 0 };
      rows.set(key, row);
    }
    return row;
  }

  function checkOrder(atMs: number): void {
    if (atMs < latestMs) throw new Error('the history was told out of order');
    latestMs = atMs;
  }

  return {
    began(key, version, atMs) {
      checkOrder(atMs);
      const row = rowOf(key);
      row.base = version;
      row.writes = 0;
      row.acknowledged.raise(version, atMs);
    },

    acknowledged(key, version, atMs) {
      checkOrder(atMs);
      rowOf(key).acknowledged.raise(version, atMs);
    },

    acknowledgedSome(key, atMs) {
      checkOrder(atMs);
      const row = rowOf(key);
      row.writes += 1;
      row.acknowledged.raise(row.base + row.writes, atMs);
    },

    deletionBegan(key) {
      rowOf(key).deletionBegan = true;
    },

    deleted(key, atMs) {
      checkOrder(atMs);
      const row = rowOf(key);
      row.deletionBegan = true;
      row.acknowledged.raise(GONE, atMs);
    },

    allowance(key) {
      const row = rowOf(key);
      row.allowances += 1;
      return () => {
        row.allowances -= 1;
      };
    },

    read(key, seen, invokedMs, returnedMs) {
      checkOrder(returnedMs);
      const row = rowOf(key);
      const absence = row.deletionBegan ? GONE : 0;
      const version = seen === 'absent' ? absence : seen;
      const stale = version < row.acknowledged.before(invokedMs);
      const backward = version < row.returned.before(invokedMs);
      if (row.allowances === 0) row.returned.raise(version, returnedMs);
      if (!stale && !backward) return RIGHT;
      const overtakenMs = Math.min(row.acknowledged.overtookAtMs(version) ?? GONE, row.returned.overtookAtMs(version) ?? GONE);
      return { stale, backward, ageMs: invokedMs - overtakenMs };
    },
  };
}
