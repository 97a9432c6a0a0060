/**
 * BEGIN, UPDATE (row lock), mark, COMMIT, settle, acknowledge. Steps that nobody else can see are merged into the next one:
 * - UPDATE and mark: a lock only keeps others from locking, so taking it later is the same run;
 * - settle and acknowledgement: an earlier acknowledgement promises more.
 * A writer that crashes before COMMIT rolls back and leaves its mark. One that crashes after it, or whose COMMIT gets no reply, is one
 * that never takes its next step: every invariant is asked of those states too.
 */
import { acknowledged, covered, exposed } from './promises.ts';
import type { Model, Step } from './protocol.ts';
import { at, changed, isLocked, isNoRow, nameOf, type Row, type State, shown, type Writer } from './state.ts';

function withWriter(state: State, index: number, fields: Partial<Writer>): State {
  return { ...state, writers: state.writers.with(index, { ...at(state.writers, index), ...fields }) };
}

export function stepsOfWriter(model: Model, state: State, index: number): readonly Step[] {
  const writer = at(state.writers, index);
  const statement = at(model.scenario.writers, index).toUpperCase();
  const beforeLock = model.protocol.mark === 'before the row lock';
  switch (writer.phase) {
    case 'idle':
      if (isTwinOfIdle(model, state, index)) return [];
      if (beforeLock) return mark(model, withToken(state, index), index, 'marked', 'BEGIN');
      if (!canLock(model, state, index)) return [];
      return mark(model, withToken(state, index, rowOf(model, state, index)), index, 'open', `${statement}, row locked`);
    case 'marked':
      return canLock(model, state, index) ? [commit(model, state, index, `${statement}, COMMIT`)] : [];
    case 'open':
      return [commit(model, state, index, 'COMMIT'), step(index, 'ROLLBACK', withWriter(state, index, { phase: 'done' }))];
    case 'committed':
      return settle(model, state, index);
    case 'done':
      return [];
    default:
      return writer.phase satisfies never;
  }
}

function step(index: number, action: string, next: State): Step {
  return { actor: `writer ${index + 1}`, action, next };
}

/** Writers that do the same differ only by name, so the first of them starts first. */
function isTwinOfIdle({ scenario }: Model, { writers }: State, index: number): boolean {
  return index > 0 && at(writers, index - 1).phase === 'idle' && scenario.writers[index] === scenario.writers[index - 1];
}

function rowOf({ scenario }: Model, state: State, index: number): Row | undefined {
  return changed(state.history, at(scenario.writers, index));
}

function canLock(model: Model, state: State, index: number): boolean {
  return !isLocked(state) && rowOf(model, state, index) !== undefined;
}

/** The token tells the version that will be committed, where the row lock makes that known. */
function withToken(state: State, index: number, row?: Row): State {
  const name = `w${index + 1}`;
  return withWriter(state, index, { token: row === undefined ? name : `${row.version}.${name}` });
}

function mark({ protocol }: Model, state: State, index: number, phase: Writer['phase'], action: string): readonly Step[] {
  const { cell } = protocol.cells.mark(state.cell, at(state.writers, index).token);
  const steps = [step(index, `${action}; mark ${shown(cell)}`, { ...withWriter(state, index, { phase, markAnswered: true }), cell })];
  if (state.left.unanswered === 0) return steps;
  const unanswered = withWriter(unansweredCommand(state, 'mark', index, false), index, { phase });
  return [...steps, step(index, `${action}; mark sent, no reply`, unanswered)];
}

function unansweredCommand(state: State, command: 'mark' | 'settle', writer: number, withValue: boolean): State {
  const left = { ...state.left, unanswered: state.left.unanswered - 1 };
  return { ...state, left, late: [...state.late, { command, writer, withValue }] };
}

function commit(model: Model, state: State, index: number, action: string): Step {
  const row = rowOf(model, state, index);
  if (row === undefined) throw new Error('nothing to commit');
  const position = state.history.length;
  let next = withWriter(state, index, { phase: 'committed', row: position });
  next = { ...next, history: [...state.history, row], outbox: [...state.outbox, position] };
  if (at(state.writers, index).markEvicted) next = exposed(model, next, position);
  if (model.protocol.acknowledge === 'after settle') return step(index, `${action} ${nameOf(row)}`, next);
  return step(index, `${action} ${nameOf(row)}, acknowledged`, acknowledged(model, next, position, false));
}

/** The cell after the settle of this writer. */
export function settled({ protocol }: Model, state: State, index: number, withValue: boolean): State {
  const { row, token } = at(state.writers, index);
  const { version, cell: value } = at(state.history, row);
  const written = isNoRow(value) && protocol.settleOfDelete === 'with N:version' ? `N:${version}` : value;
  const { cell } = protocol.cells.settle(state.cell, token, version, withValue ? written : undefined);
  return covered({ ...state, cell }, (other) => other === row);
}

function mayCarryValue({ protocol }: Model, state: State, { markAnswered, row }: Writer): boolean {
  if (isNoRow(at(state.history, row).cell) && protocol.settleOfDelete === 'without value') return false;
  return markAnswered || protocol.settleWithValue === 'always';
}

function settle(model: Model, state: State, index: number): readonly Step[] {
  const writer = at(state.writers, index);
  const { retries, row } = writer;
  return (mayCarryValue(model, state, writer) ? [true, false] : [false]).flatMap((withValue) => {
    const name = withValue ? 'settle with value' : 'settle';
    const answered = settled(model, withWriter(state, index, { phase: 'done' }), index, withValue);
    const done = step(index, `${name} ${shown(answered.cell)}; acknowledged`, acknowledged(model, answered, row, true));
    if (state.left.unanswered === 0) return [done];
    const sent = unansweredCommand(state, 'settle', index, withValue);
    const given = acknowledged(model, withWriter(sent, index, { phase: 'done' }), row, false);
    const ends = [done, step(index, `${name} sent, no reply; acknowledged`, given)];
    if (retries === 0) return ends;
    return [...ends, step(index, `${name} sent, no reply; will try again`, withWriter(sent, index, { retries: retries - 1 }))];
  });
}
