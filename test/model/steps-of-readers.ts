/**
 * GET; on a miss lease, SELECT, answer, fill. Only a load keeps state, so only loads are counted; any number of other reads may happen at
 * any time. Merged, because the merged run promises or demands at least as much:
 * - any read of the database, whatever the reason (untrusted, Redis error, a mark or a lease in the cell, waiting for one), with its start
 *   and its end: it can never be stale itself, and the later it starts the more its answer promises. The same goes for joining a load
 *   that has not reached its SELECT;
 * - GET and lease: a lease that is refused answers the cell, like a GET at that moment. The implementation must see to it that both run on
 *   the same connection (there is a mutant that does not);
 * - a load and its answer: from its SELECT on the row counts as returned, and others may join until its fill;
 * - joining a load and its end: what the reader gets is fixed when it joins.
 * A crash after a lease, or a fill that is lost, is a load that never takes its next step.
 */
import { headOf } from '../support/cell-table.ts';
import { missedBy, returned } from './promises.ts';
import type { Model, Step } from './protocol.ts';
import { at, isNoRow, type Load, nameOf, newest, positionOf, readerToken, type State, shown } from './state.ts';

export function stepsOfReaders(model: Model, state: State): readonly Step[] {
  return [...reads(model, state), ...state.loads.flatMap((_load, index) => stepsOfLoad(model, state, index))];
}

function withLoad(state: State, index: number, fields: Partial<Load>): State {
  return { ...state, loads: state.loads.with(index, { ...at(state.loads, index), ...fields }) };
}

function step(index: number, action: string, next: State): Step {
  return { actor: `reader ${index + 1}`, action, next };
}

function stepsOfLoad(model: Model, state: State, index: number): readonly Step[] {
  const { phase, row, epoch } = at(state.loads, index);
  const loaded = at(state.history, row);
  const isSameConnection = epoch === state.epoch;
  const done = withLoad(state, index, { phase: 'done' });
  switch (phase) {
    case 'missed': {
      const { cell } = state;
      if (cell === undefined || headOf(cell).kind !== 'row') return [];
      return [served(model, done, `lease is refused ${shown(cell)}`, positionOf(state.history, cell))];
    }
    case 'leased':
    case 'checking': {
      const selected = withLoad(state, index, { phase: phase === 'leased' ? 'loaded' : 'refreshing', row: newest(state) });
      const action = `SELECT -> ${nameOf(at(state.history, newest(state)))}`;
      return [step(index, action, returned(model, selected, newest(state)))];
    }
    case 'loaded': {
      if (!isSameConnection) return [];
      const { cell } = model.protocol.cells.fill(state.cell, readerToken(index), loaded.cell);
      return [step(index, `fill with ${nameOf(loaded)} ${shown(cell)}`, { ...done, cell })];
    }
    case 'refreshing': {
      if (!isSameConnection || isNoRow(loaded.cell)) return [];
      const { cell } = model.protocol.cells.refresh(state.cell, loaded.version, loaded.cell);
      return [step(index, `refresh with ${nameOf(loaded)} ${shown(cell)}`, { ...done, cell })];
    }
    case 'idle':
    case 'done':
      return [];
    default:
      return phase satisfies never;
  }
}

function isTrusted({ epoch, watermark, clock }: State): boolean {
  return watermark.epoch === epoch && clock.interval - watermark.interval <= 1;
}

function reads(model: Model, state: State): readonly Step[] {
  const { cell } = state;
  const row = newest(state);
  const action = `reads ${nameOf(at(state.history, row))} from the database`;
  const steps: Step[] = [{ actor: 'a reader', action, next: returned(model, state, row) }];
  if (!isTrusted(state)) return steps;
  const nextLoad = state.loads.findIndex(({ phase }) => phase === 'idle');
  if (cell !== undefined && headOf(cell).kind === 'row') {
    steps.push(served(model, state, `GET ${shown(cell)}`, positionOf(state.history, cell)));
    if (!model.scenario.refresh || isNoRow(cell) || nextLoad < 0) return steps;
    const checking = withLoad(state, nextLoad, { phase: 'checking', epoch: state.epoch });
    return [...steps, step(nextLoad, `GET ${shown(cell)}, to be refreshed`, checking)];
  }
  steps.push(...joins(model, state));
  const leased = model.protocol.cells.lease(cell, readerToken(nextLoad));
  if (leased.outcome === 'refused' || nextLoad < 0) return steps;
  if (model.protocol.lease === 'on any connection')
    steps.push(step(nextLoad, 'GET -> nothing', withLoad(state, nextLoad, { phase: 'missed' })));
  const next = { ...withLoad(state, nextLoad, { phase: 'leased', epoch: state.epoch }), cell: leased.cell };
  return [...steps, step(nextLoad, `GET -> nothing; lease ${shown(leased.cell)}`, next)];
}

function joins(model: Model, state: State): readonly Step[] {
  const mayJoin = (other: number): boolean => model.protocol.join === 'by key' || state.cell === `L:${readerToken(other)}`;
  return state.loads.flatMap(({ phase, row }, other) => {
    if (phase !== 'loaded' || !mayJoin(other)) return [];
    return [served(model, state, `GET ${shown(state.cell)}; joins the load of reader ${other + 1}`, row)];
  });
}

/** The answer came from another place than the database. */
function served(model: Model, state: State, action: string, row: number): Step {
  const violation = missedBy(state, row);
  const answered = { actor: 'a reader', action, next: returned(model, state, row) };
  return violation === undefined ? answered : { ...answered, violation };
}
