/** What is explored: a scenario (who acts, how much may go wrong, what is promised) under a protocol (ours, or a mutant of it). */
import * as cellTable from '../support/cell-table.ts';
import type { Budget, Change, State } from './state.ts';

export interface Protocol {
  readonly cells: Pick<typeof cellTable, 'lease' | 'fill' | 'mark' | 'settle' | 'bump' | 'refresh'>;
  readonly mark: 'under the row lock' | 'before the row lock';
  readonly acknowledge: 'after settle' | 'before settle';
  readonly settleWithValue: 'if the mark was answered' | 'always';
  /** With a value, a delete can be overtaken by an insert, whose version is lower. */
  readonly settleOfDelete: 'without value' | 'with N:0' | 'with N:version';
  readonly lease: 'on the connection of the GET' | 'on any connection';
  /** Which running load a reader that did not hit may join. */
  readonly join: 'by token' | 'by key';
  readonly relay: 'runs' | 'does not wait for its bumps' | 'never runs';
  readonly publish: 'after the bumps' | 'before the bumps';
  readonly newEpoch: 'drops keys' | 'keeps keys';
  /** From when the 3 s of a watermark count. */
  readonly watermark: 'from the start of the pass' | 'from its publication';
}

export const coherent: Protocol = {
  cells: cellTable,
  mark: 'under the row lock',
  acknowledge: 'after settle',
  settleWithValue: 'if the mark was answered',
  settleOfDelete: 'without value',
  lease: 'on the connection of the GET',
  join: 'by token',
  relay: 'runs',
  publish: 'after the bumps',
  newEpoch: 'drops keys',
  watermark: 'from the start of the pass',
};

export interface Scenario {
  readonly name: string;
  readonly writers: readonly Change[];
  /** Reads that fill; any number of others may happen. */
  readonly loads: number;
  /** SQL typed by hand, in this order. */
  readonly outside: readonly Change[];
  readonly evictions: number;
  /** Commands of writers that get no reply: executed at any later step, or never. */
  readonly unanswered: number;
  readonly failovers: number;
  readonly intervals: number;
  /** Whether a reader that hit may refresh the cell early. */
  readonly refresh: boolean;
  /**
   * What no later read may miss, besides everything that was committed before the start of the pass that published the watermark:
   * `acknowledged` all service writes; or those whose settle was answered; `returned` all rows an earlier read returned; or those that
   * a mark hid while they were committed.
   */
  readonly acknowledged: 'all' | 'settled' | 'none';
  readonly returned: 'all' | 'marked' | 'none';
}

export interface Model {
  readonly scenario: Scenario;
  readonly protocol: Protocol;
}

export interface Step {
  readonly actor: string;
  readonly action: string;
  readonly next: State;
  readonly violation?: string;
}

const RETRIES = 1;

/** The row is cached, or not. */
export function initialStates({ writers, loads, outside, ...scenario }: Scenario): readonly State[] {
  const left: Budget = {
    evictions: scenario.evictions,
    unanswered: scenario.unanswered,
    outside: outside.length,
    failovers: scenario.failovers,
    intervals: scenario.intervals,
  };
  const row = { version: 1, cell: 'V:1:' };
  return [row.cell, undefined].map((cell) => ({
    history: [row],
    outbox: [],
    cell,
    replica: cell,
    epoch: 0,
    watermark: { epoch: 0, upTo: 0, interval: 0 },
    pass: undefined,
    writers: writers.map(() => ({ phase: 'idle', row: 0, token: '', markAnswered: false, markEvicted: false, retries: RETRIES })),
    loads: Array.from({ length: loads }, () => ({ phase: 'idle', row: 0, epoch: 0 })),
    late: [],
    clock: { interval: 0, atStart: 0, atStartOfPrevious: 0 },
    promised: { acknowledged: 0, returned: 0, exposed: [] },
    left,
  }));
}
