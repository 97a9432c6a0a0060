/** The invariants, and the bookkeeping they need. */
import { headOf } from '../support/cell-table.ts';
import type { Model } from './protocol.ts';
import { at, nameOf, newest, positionOf, type State } from './state.ts';

/**
 * A read served by the cache, or by another reader's load, must not miss
 * - what was committed before the start of the pass that published the newest watermark: that is what a watermark claims, with and
 *   without faults. (A process may know an older watermark and so claim less; and before trust is lost it may always ask the database);
 * - what was committed more than one whole interval ago, whatever goes wrong: the bound of "about 3 seconds", in the coarse time of the model;
 * - in scenarios without Redis faults, what was acknowledged or returned before the read started.
 * It must be a row that was committed. `answer` is its position in the history, -1 for none.
 */
export function missedBy(state: State, answer: number): string | undefined {
  if (answer < 0) return 'a read got a row that was never committed';
  const { promised, watermark, clock } = state;
  const floors = [
    [promised.acknowledged, 'was acknowledged'],
    [promised.returned, 'was returned by another read'],
    [watermark.upTo, 'was committed before the pass that published the watermark'],
    [clock.atStartOfPrevious, 'was committed more than 3 s ago'],
  ] as const;
  const missed = floors.find(([floor]) => answer < floor);
  if (missed === undefined) return undefined;
  return `a read started after ${nameOf(at(state.history, missed[0]))} ${missed[1]}, and got ${nameOf(at(state.history, answer))}`;
}

/**
 * Once every outbox row is applied, the cell holds the row, or nothing, or a lease or mark that expires. This is asked of every such
 * state, not only of those in which all processes are done: any of them may have crashed, and never act again.
 */
export function wrongAtRest({ protocol }: Model, state: State): string | undefined {
  const { cell, outbox, epoch, watermark } = state;
  if (outbox.length > 0 && protocol.relay !== 'never runs') return undefined;
  if (epoch !== watermark.epoch || cell === undefined || headOf(cell).kind !== 'row') return undefined;
  if (positionOf(state.history, cell) === newest(state)) return undefined;
  return `at rest the cell is ${cell} and the row is ${nameOf(at(state.history, newest(state)))}`;
}

/** A read ended with this row. */
export function returned({ scenario }: Model, state: State, row: number): State {
  const { promised } = state;
  if (scenario.returned === 'none') return state;
  let floor = row;
  if (scenario.returned === 'marked') while (promised.exposed.includes(floor)) floor -= 1;
  return floor <= promised.returned ? state : { ...state, promised: { ...promised, returned: floor } };
}

export function acknowledged({ scenario }: Model, state: State, row: number, settled: boolean): State {
  const { promised } = state;
  const counts = scenario.acknowledged === 'all' || (scenario.acknowledged === 'settled' && settled);
  return counts && row > promised.acknowledged ? { ...state, promised: { ...promised, acknowledged: row } } : state;
}

export function exposed({ scenario }: Model, state: State, row: number): State {
  const { promised } = state;
  if (scenario.returned !== 'marked') return state;
  return { ...state, promised: { ...promised, exposed: [...promised.exposed, row] } };
}

/** A settle of these rows was executed, or the relay is through with them. */
export function covered(state: State, isCovered: (row: number) => boolean): State {
  const { promised } = state;
  if (!promised.exposed.some(isCovered)) return state;
  return { ...state, promised: { ...promised, exposed: promised.exposed.filter((row) => !isCovered(row)) } };
}
