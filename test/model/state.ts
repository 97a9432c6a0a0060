/**
 * One instant of the whole system: PostgreSQL, Redis and every process. One row and its cell are enough: each script touches one key,
 * and linearizability is local (a set of rows is linearizable when each row is).
 */
import type { Cell } from '../support/cell-table.ts';

/** A committed state of the row. Its position in the history orders it: versions start again when a row is inserted again. */
export interface Row {
  /** A delete reports the version after the one it removed. */
  readonly version: number;
  /** The cell that says so; `V:1:#2` is version 1 of the row's second life. */
  readonly cell: string;
}

export interface Writer {
  /** `marked` is only for the mutant that marks before it holds the row lock. `open`: it holds the lock. */
  readonly phase: 'idle' | 'marked' | 'open' | 'committed' | 'done';
  /** Its position in the history, once it is committed. */
  readonly row: number;
  /** Of its mark. */
  readonly token: string;
  readonly markAnswered: boolean;
  /** Its mark disappeared while its transaction was open. */
  readonly markEvicted: boolean;
  readonly retries: number;
}

/** A read that fills, or refreshes early. */
export interface Load {
  /**
   * `leased` and `loaded`: before and after its SELECT; `checking` and `refreshing`: the same for an early refresh. `missed` is only for
   * the mutant that takes the lease on another connection than its GET.
   */
  readonly phase: 'idle' | 'missed' | 'leased' | 'loaded' | 'checking' | 'refreshing' | 'done';
  /** What its SELECT saw, as a position in the history. */
  readonly row: number;
  /** Of the connection on which it began. */
  readonly epoch: number;
}

/** A pass of the relay under way. */
export interface Pass {
  /** Still to bump, as positions in the history. */
  readonly rows: readonly number[];
  /** Everything up to here was committed when the pass started. */
  readonly upTo: number;
  readonly epoch: number;
  readonly interval: number;
  /** The run id is not that of the last watermark. */
  readonly mustDrop: boolean;
}

export interface Watermark {
  readonly epoch: number;
  /** The position in the history that was committed when the pass started. */
  readonly upTo: number;
  /** From which its 3 s count. */
  readonly interval: number;
}

/** Sent, and given up by its sender: Redis executes it at any later step, or never. */
export interface LateCommand {
  readonly command: 'mark' | 'settle';
  readonly writer: number;
  readonly withValue: boolean;
}

/** Time is cut into intervals of 3 s, the life of a watermark: what was born in one interval is dead in the next but one. */
export interface Clock {
  readonly interval: number;
  /** Committed when this interval began, and when the one before began; positions in the history. */
  readonly atStart: number;
  readonly atStartOfPrevious: number;
}

/** What readers have been promised so far, as positions in the history. */
export interface Promised {
  readonly acknowledged: number;
  readonly returned: number;
  /** Committed while no mark hid the cell (SQL from outside, or the mark was evicted), and not yet settled or bumped. */
  readonly exposed: readonly number[];
}

/** How many accidents may still happen. */
export interface Budget {
  readonly evictions: number;
  readonly unanswered: number;
  readonly outside: number;
  readonly failovers: number;
  readonly intervals: number;
}

export interface State {
  readonly history: readonly Row[];
  /** Rows of cache_outbox, as positions in the history. */
  readonly outbox: readonly number[];
  readonly cell: Cell;
  /** What a failover would restore. */
  readonly replica: Cell;
  /** The run id of Redis. */
  readonly epoch: number;
  readonly watermark: Watermark;
  readonly pass: Pass | undefined;
  readonly writers: readonly Writer[];
  readonly loads: readonly Load[];
  readonly late: readonly LateCommand[];
  readonly clock: Clock;
  readonly promised: Promised;
  readonly left: Budget;
}

export type Change = 'update' | 'delete' | 'insert';

export const readerToken = (reader: number): string => `r${reader + 1}`;

export function at<T>(list: readonly T[], position: number): T {
  const item = list[position];
  if (item === undefined) throw new RangeError(`nothing at ${position} of ${list.length}`);
  return item;
}

export const newest = (state: State): number => state.history.length - 1;

export const isNoRow = (cell: string): boolean => cell.startsWith('N:');

/** Where in the history a cell belongs; -1 for nowhere. "No row" does not say after which delete: the newest is the fair reading. */
export function positionOf(history: readonly Row[], cell: string): number {
  return history.findLastIndex((row) => row.cell === cell || (isNoRow(row.cell) && isNoRow(cell)));
}

/** How a trace calls a row. */
export function nameOf({ version, cell }: Row): string {
  return isNoRow(cell) ? 'no row' : `v${version}${cell.slice(cell.indexOf(':', 2) + 1)}`;
}

/** How a trace shows what a step left in the cell. */
export const shown = (cell: Cell): string => `-> ${cell ?? 'nothing'}`;

/** The row after the change; undefined when there is nothing to change. */
export function changed(history: readonly Row[], change: Change): Row | undefined {
  const row = at(history, history.length - 1);
  const deletes = history.filter(({ cell }) => isNoRow(cell)).length;
  const life = deletes === 0 ? '' : `#${deletes + 1}`;
  if (isNoRow(row.cell) !== (change === 'insert')) return undefined;
  switch (change) {
    case 'insert':
      return { version: 1, cell: `V:1:${life}` };
    case 'update':
      return { version: row.version + 1, cell: `V:${row.version + 1}:${life}` };
    case 'delete':
      return { version: row.version + 1, cell: 'N:0' };
    default:
      return change satisfies never;
  }
}

export const isLocked = (state: State): boolean => state.writers.some(({ phase }) => phase === 'open');
