/**
 * States with the same key have the same future, so only the first of them is explored. Apart from writing the state down, a key
 * - forgets names: loads differ by name only, and so do writers of the same change. A process is known by what it has done and by what in
 *   Redis is its own;
 * - forgets why a version may not be missed: the newest such version counts;
 * - forgets what can have no effect any more: a load whose lease is gone can neither fill nor be joined, and any other read can do its SELECT.
 * Keys are short, for most of the time goes into them.
 */
import * as cellTable from '../support/cell-table.ts';
import type { Model } from './protocol.ts';
import { type Load, readerToken, type State, type Writer } from './state.ts';

export function keyOf(model: Model, state: State): string {
  const { pass, watermark, clock, promised, left } = state;
  const loads = state.loads.map((load, index) => loadKey(model, state, load, index)).sort();
  const writers = state.writers.map((writer, index) => `${model.scenario.writers[index]}${writerKey(state, writer, index)}`).sort();
  const redis = `${anonymous(state.cell)},${anonymous(state.replica)},${state.epoch},${watermark.epoch},${watermark.upTo},${watermark.interval}`;
  const relay = pass === undefined ? '' : `${pass.rows},${pass.upTo},${pass.epoch},${pass.interval},${+pass.mustDrop}`;
  const floor = Math.max(promised.acknowledged, promised.returned, watermark.upTo);
  const time = `${clock.interval},${clock.atStart},${clock.atStartOfPrevious}`;
  const budget = `${left.evictions},${left.unanswered},${left.outside},${left.failovers},${left.intervals}`;
  const history = state.history.map(({ cell }) => cell).join();
  return `${history}|${state.outbox}|${redis}|${relay}|${writers}|${loads}|${time}|${floor},${promised.exposed}|${budget}`;
}

/** A lease or mark without its owner's name: the owner's key tells. The version of a mark stays. */
function anonymous(cell: cellTable.Cell): string {
  if (cell === undefined) return '';
  if (cell.startsWith('L:')) return 'L';
  return cell.startsWith('W:') ? cell.slice(0, Math.max(2, cell.indexOf('.'))) : cell;
}

/** Where in Redis the lease or mark of a process is. */
function owned({ cell, replica }: State, name: string): string {
  const tainted = `${name}!`;
  const mine = (place: cellTable.Cell): string => (place === name ? '+' : place === tainted ? '!' : '');
  return `${mine(cell)}/${mine(replica)}`;
}

function loadKey({ protocol }: Model, state: State, { phase, row, epoch }: Load, index: number): string {
  const own = owned(state, `L:${readerToken(index)}`);
  const needsLease = protocol.cells.fill === cellTable.fill && protocol.join === 'by token' && (phase === 'leased' || phase === 'loaded');
  const isOver = phase === 'done' || (needsLease && own === '/') || (phase !== 'idle' && phase !== 'missed' && epoch !== state.epoch);
  return isOver ? `.${own}` : `${phase.slice(0, 3)}${row}${epoch}${own}`;
}

function writerKey(state: State, writer: Writer, index: number): string {
  const own = owned(state, `W:${writer.token}`);
  const pending = state.late.filter((command) => command.writer === index).map(({ command, withValue }) => `${command}${+withValue}`);
  if (writer.phase === 'done' && pending.length === 0) return `.${own}`;
  const { phase, row, token, markAnswered, markEvicted, retries } = writer;
  return `${phase.slice(0, 1)}${row}${token.slice(0, -1)}${+markAnswered}${+markEvicted}${retries}${own}${pending.sort().join('')}`;
}
