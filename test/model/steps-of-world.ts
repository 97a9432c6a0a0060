/** What happens to the service: Redis forgets, replies come late, people type SQL, time passes. */
import { headOf } from '../support/cell-table.ts';
import { exposed } from './promises.ts';
import type { Model, Step } from './protocol.ts';
import { at, changed, isLocked, nameOf, newest, type State, shown } from './state.ts';
import { settled } from './steps-of-writers.ts';

export function stepsOfWorld(model: Model, state: State): readonly Step[] {
  return [...evict(state), ...executeLate(model, state), ...sqlFromOutside(model, state), ...failOver(state), ...passTime(state)];
}

/** Of memory pressure, or of the end of its life. */
function evict(state: State): readonly Step[] {
  const { cell, left } = state;
  if (cell === undefined || left.evictions === 0) return [];
  const head = headOf(cell);
  const owner = head.kind === 'mark' ? state.writers.findIndex(({ token }) => token === head.token) : -1;
  const writer = state.writers[owner];
  const isOpen = writer !== undefined && (writer.phase === 'open' || writer.phase === 'marked');
  const writers = isOpen ? state.writers.with(owner, { ...writer, markEvicted: true }) : state.writers;
  const next = { ...state, cell: undefined, writers, left: { ...left, evictions: left.evictions - 1 } };
  return [{ actor: 'redis', action: `evicts ${cell}`, next }];
}

function executeLate(model: Model, state: State): readonly Step[] {
  return state.late.map(({ command, writer, withValue }, position) => {
    const rest = { ...state, late: state.late.toSpliced(position, 1) };
    const next =
      command === 'mark'
        ? { ...rest, cell: model.protocol.cells.mark(state.cell, at(state.writers, writer).token).cell }
        : settled(model, rest, writer, withValue);
    const name = command === 'settle' && withValue ? 'settle with value' : command;
    return { actor: 'redis', action: `executes the ${name} of writer ${writer + 1} ${shown(next.cell)}`, next };
  });
}

function sqlFromOutside(model: Model, state: State): readonly Step[] {
  const { scenario } = model;
  const { left, history } = state;
  if (left.outside === 0 || isLocked(state)) return [];
  const change = at(scenario.outside, scenario.outside.length - left.outside);
  const row = changed(history, change);
  if (row === undefined) return [];
  const next = { ...state, history: [...history, row], outbox: [...state.outbox, history.length] };
  const committed = exposed(model, { ...next, left: { ...left, outside: left.outside - 1 } }, history.length);
  return [{ actor: 'outside', action: `${change.toUpperCase()}, COMMIT ${nameOf(row)}`, next: committed }];
}

/** Redis comes back as its replica, or its last snapshot, was: with another run id, and every connection and what was sent on it gone. */
function failOver(state: State): readonly Step[] {
  const { left, cell, replica } = state;
  if (left.failovers === 0) return [];
  const restored = { ...state, cell: replica, epoch: state.epoch + 1, late: [], left: { ...left, failovers: left.failovers - 1 } };
  const failed = { actor: 'redis', action: `fails over ${shown(replica)}`, next: restored };
  return cell === replica ? [failed] : [failed, { actor: 'redis', action: `replicates ${cell}`, next: { ...state, replica: cell } }];
}

function passTime(state: State): readonly Step[] {
  const { left, clock } = state;
  if (left.intervals === 0) return [];
  const next = { interval: clock.interval + 1, atStart: newest(state), atStartOfPrevious: clock.atStart };
  return [{ actor: 'time', action: '3 s pass', next: { ...state, clock: next, left: { ...left, intervals: left.intervals - 1 } } }];
}
