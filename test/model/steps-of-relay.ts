/**
 * A pass: read the outbox, bump each row, delete the rows, publish the watermark. Merged: the delete and the publication, both as early as
 * they can be (a later delete only repeats bumps, a later publication promises less).
 * At any time it may begin again: that is also its crash and another leader, a bump that was lost, and one whose reply was lost.
 * Not modelled: a bump that is executed late (it only ever deletes or taints) and TRUNCATE (drops all keys, as after a failover).
 */
import { covered } from './promises.ts';
import type { Model, Step } from './protocol.ts';
import { at, nameOf, newest, type Pass, type State, shown } from './state.ts';

/** Above every version. */
const ANY_VERSION = Number.MAX_SAFE_INTEGER;

function step(action: string, next: State): Step {
  return { actor: 'relay', action, next };
}

export function stepsOfRelay(model: Model, state: State): readonly Step[] {
  if (model.protocol.relay === 'never runs') return [];
  const { pass } = state;
  const begun = begin(model, state);
  if (pass === undefined) return begun;
  if (pass.mustDrop || pass.rows.length > 0) {
    if (pass.epoch !== state.epoch) return begun;
    if (pass.mustDrop) return [...begun, drop(model, state, pass)];
    const early = model.protocol.relay === 'does not wait for its bumps' ? [finish(model, state, pass)] : [];
    return [...begun, ...early, ...pass.rows.map((row) => bump(model, state, pass, row))];
  }
  return [...begun, finish(model, state, pass)];
}

/** Whether a pass that begins now differs from the one under way, or could change anything. */
function isPassUseful(state: State): boolean {
  const { watermark, epoch, clock, outbox, pass } = state;
  if (pass !== undefined)
    return pass.upTo < newest(state) || pass.epoch !== epoch || pass.interval !== clock.interval || pass.rows.length < outbox.length;
  return outbox.length > 0 || watermark.upTo < newest(state) || watermark.epoch !== epoch || watermark.interval !== clock.interval;
}

function begin({ protocol }: Model, state: State): readonly Step[] {
  if (!isPassUseful(state)) return [];
  const { outbox, epoch, clock } = state;
  const mustDrop = epoch !== state.watermark.epoch && protocol.newEpoch === 'drops keys';
  const pass = { rows: outbox, upTo: newest(state), epoch, interval: clock.interval, mustDrop };
  const rows = outbox.map((row) => nameOf(at(state.history, row))).join(', ');
  const next = { ...state, pass };
  const action = `begins a pass, reads the outbox: ${rows === '' ? 'empty' : rows}`;
  return [step(action, protocol.publish === 'after the bumps' ? next : publish(next, pass, pass.interval))];
}

/** A mark may stay: it hides the row, and tainted it cannot become a value. */
function drop({ protocol }: Model, state: State, pass: Pass): Step {
  const { cell } = protocol.cells.bump(state.cell, ANY_VERSION);
  return step(`drops all keys ${shown(cell)}`, { ...state, cell, pass: { ...pass, mustDrop: false } });
}

function bump({ protocol }: Model, state: State, pass: Pass, row: number): Step {
  const { version } = at(state.history, row);
  const { cell } = protocol.cells.bump(state.cell, version);
  const rows = pass.rows.filter((other) => other !== row);
  return step(`bump to version ${version} ${shown(cell)}`, { ...state, cell, pass: { ...pass, rows } });
}

function finish({ protocol }: Model, state: State, pass: Pass): Step {
  const { upTo, epoch } = pass;
  const outbox = state.outbox.filter((row) => row > upTo);
  const deleted = covered({ ...state, pass: undefined, outbox }, (row) => row <= upTo);
  // Its connection was closed by the failover; PostgreSQL does not know that.
  if (epoch !== state.epoch) return step('deletes the rows, cannot publish', deleted);
  const from = protocol.watermark === 'from the start of the pass' ? pass.interval : state.clock.interval;
  return step('deletes the rows, publishes the watermark', publish(deleted, pass, from));
}

function publish(state: State, { epoch, upTo }: Pass, interval: number): State {
  return { ...state, watermark: { epoch, upTo: Math.max(upTo, state.watermark.upTo), interval } };
}
