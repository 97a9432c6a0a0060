import { describe, expect, it } from 'vitest';
import { bump, type Cell, fill, headOf, lease, mark, refresh, release, settle } from '../support/cell-table.ts';

/** The columns of the table in ARCHITECTURE.md, for a writer or reader whose token is `me`, at version 3. */
const COLUMNS: readonly Cell[] = [
  undefined,
  'L:me',
  'L:other',
  'W:me',
  'W:me!',
  'W:other',
  'W:other!',
  'V:2:j1:{}',
  'N:2',
  'V:3:j1:{}',
  'N:3',
  'V:4:j1:{}',
  'alien',
];
const VALUE = 'V:3:j1:{"new":1}';

/** What the operation does to each column; '=' leaves it alone, '-' deletes it. */
function effects(operation: (cell: Cell) => { readonly cell: Cell }): string {
  return COLUMNS.map((before) => {
    const { cell } = operation(before);
    if (cell === before) return '=';
    return cell ?? '-';
  }).join(' ');
}

describe('the table of cells', () => {
  it.each([
    ['lease', (cell: Cell) => lease(cell, 'me'), `L:me ${'= '.repeat(12)}`],
    ['fill', (cell: Cell) => fill(cell, 'me', VALUE), `= ${VALUE} ${'= '.repeat(11)}`],
    ['mark', (cell: Cell) => mark(cell, 'me'), `W:me W:me W:me = ${'W:me '.repeat(9)}`],
    ['settle with a value', (cell: Cell) => settle(cell, 'me', 3, VALUE), `= - - ${VALUE} - W:other! = - - = = = -`],
    ['settle without one', (cell: Cell) => settle(cell, 'me', 3, undefined), '= - - - - W:other! = - - = = = -'],
    ['release', (cell: Cell) => release(cell, 'me'), `= - ${'= '.repeat(11)}`],
    ['bump', (cell: Cell) => bump(cell, 3), '= - - W:me! = W:other! = - - = = = -'],
    ['refresh', (cell: Cell) => refresh(cell, 3, VALUE), '= = = = = = = - = - = = ='],
  ])('%s', (_name, operation, expected) => {
    expect(effects(operation)).toBe(expected.trimEnd());
  });

  it('names what it did', () => {
    expect([lease(undefined, 'me').outcome, lease('L:x', 'me').outcome]).toEqual(['taken', 'refused']);
    expect([fill('L:me', 'me', VALUE).outcome, fill('L:x', 'me', VALUE).outcome]).toEqual(['filled', 'refused']);
    expect(COLUMNS.slice(3, 6).map((cell) => settle(cell, 'me', 3, VALUE).outcome)).toEqual(['set', 'deleted', 'left']);
    expect([release('L:me', 'me').outcome, release('W:me', 'me').outcome]).toEqual(['deleted', 'left']);
    expect(['L:me', 'W:me', undefined].map((cell) => bump(cell, 3).outcome)).toEqual(['deleted', 'tainted', 'left']);
    expect([refresh(VALUE, 3, VALUE).outcome, refresh('N:0', 3, VALUE).outcome]).toEqual(['set', 'left']);
  });

  it('prolongs a value that says the same, whenever it was to end', () => {
    const until = (expiry: string, content = '{"a:b":1}') => `V:3:j1.01234567.${expiry}:${content}`;
    expect(refresh(until('aaa'), 3, until('zzz')).cell).toBe(until('zzz'));
    expect(refresh(until('aaa'), 3, until('zzz', '{}')).cell).toBeUndefined();
  });

  it('leaves another mark clean when it is a later writer, who knows of this one', () => {
    expect(settle('W:4.other', '3.me', 3, VALUE).cell).toBe('W:4.other');
    expect(settle('W:2.other', '3.me', 3, VALUE).cell).toBe('W:2.other!');
  });

  it('taints a mark only for what was committed after it was set, where its token tells', () => {
    const marks = ['W:2.me', 'W:3.me', 'W:4.me', 'W:2.me!', 'W:me'];
    expect(marks.map((cell) => bump(cell, 3).cell)).toEqual(['W:2.me!', 'W:3.me', 'W:4.me', 'W:2.me!', 'W:me!']);
  });

  it('calls foreign whatever it cannot read', () => {
    const strange = ['', 'V:', 'V:x:', 'V:1', 'N:1:', 'N:', 'L:', 'W:', 'W:!', 'L:a!', '{"id":1}'];
    expect(strange.map((cell) => headOf(cell).kind)).toEqual(strange.map(() => 'foreign'));
  });
});
