/**
 * The table "state x operation" of one cell, as pure functions: what each Lua script does to the string under its key.
 * The model explores it, and doubles of Redis answer with it. See ARCHITECTURE.md, cache.
 */

/** What Redis holds under the key; undefined is no key. */
export type Cell = string | undefined;

export interface Applied<Outcome extends string> {
  /** The cell afterwards. */
  readonly cell: Cell;
  readonly outcome: Outcome;
}

export type Head =
  | { readonly kind: 'absent' }
  /** `V:<version>:` or `N:<version>`: the row, or that there is none. */
  | { readonly kind: 'row'; readonly version: number }
  | { readonly kind: 'lease'; readonly token: string }
  | { readonly kind: 'mark'; readonly token: string; readonly tainted: boolean }
  /** Not written by this protocol, or not by this version of it. */
  | { readonly kind: 'foreign' };

const ROW = /^(?:V:(\d{1,15}):|N:(\d{1,15})$)/;
const LEASE = /^L:([^!]+)$/;
const MARK = /^W:([^!]+)(!?)$/;

export function headOf(cell: Cell): Head {
  if (cell === undefined) return { kind: 'absent' };
  const row = ROW.exec(cell);
  if (row !== null) return { kind: 'row', version: Number(row[1] ?? row[2]) };
  const lease = LEASE.exec(cell)?.[1];
  if (lease !== undefined) return { kind: 'lease', token: lease };
  const mark = MARK.exec(cell);
  if (mark?.[1] !== undefined) return { kind: 'mark', token: mark[1], tainted: mark[2] === '!' };
  return { kind: 'foreign' };
}

/** The version that the marking transaction commits; -1 for a token that does not tell. */
function versionOfToken(token: string): number {
  return Number(/^(\d+)\./.exec(token)?.[1] ?? -1);
}

/** `SET key L:token NX GET`: when it is refused, the reply is the cell. */
export function lease(cell: Cell, token: string): Applied<'taken' | 'refused'> {
  return cell === undefined ? { cell: `L:${token}`, outcome: 'taken' } : { cell, outcome: 'refused' };
}

export function fill(cell: Cell, token: string, value: string): Applied<'filled' | 'refused'> {
  return cell === `L:${token}` ? { cell: value, outcome: 'filled' } : { cell, outcome: 'refused' };
}

/** Unconditional: whatever it hides, the database still has. */
export function mark(_cell: Cell, token: string): Applied<'marked'> {
  return { cell: `W:${token}`, outcome: 'marked' };
}

export function settle(cell: Cell, token: string, version: number, value: string | undefined): Applied<'set' | 'deleted' | 'left'> {
  const deleted = { cell: undefined, outcome: 'deleted' } as const;
  const left = { cell, outcome: 'left' } as const;
  const head = headOf(cell);
  switch (head.kind) {
    case 'absent':
      return left;
    case 'lease':
    case 'foreign':
      return deleted;
    case 'mark':
      // Marks are set in the order of the row lock: an earlier writer's is there only because the own one was lost. Its value is old.
      if (head.token !== token) return versionOfToken(head.token) >= version ? left : { cell: `W:${head.token}!`, outcome: 'left' };
      return head.tainted || value === undefined ? deleted : { cell: value, outcome: 'set' };
    case 'row':
      return head.version < version ? deleted : left;
    default:
      return head satisfies never;
  }
}

/** Gives a read lease back. A mark is never given back: only a settle or its end of life removes it. */
export function release(cell: Cell, token: string): Applied<'deleted' | 'left'> {
  return cell === `L:${token}` ? { cell: undefined, outcome: 'deleted' } : { cell, outcome: 'left' };
}

export function bump(cell: Cell, version: number): Applied<'deleted' | 'tainted' | 'left'> {
  const deleted = { cell: undefined, outcome: 'deleted' } as const;
  const left = { cell, outcome: 'left' } as const;
  const head = headOf(cell);
  switch (head.kind) {
    case 'absent':
      return left;
    case 'lease':
    case 'foreign':
      return deleted;
    case 'mark':
      // What was committed before the mark was set is no reason to distrust what it will settle.
      return versionOfToken(head.token) >= version ? left : { cell: `W:${head.token}!`, outcome: 'tainted' };
    case 'row':
      return head.version < version ? deleted : left;
    default:
      return head satisfies never;
  }
}

/** What a value says of the row, without the format and its expiry. */
function contentOf(value: string): string {
  return value.replace(/^V:\d+:(?:[^:]*:)?/, '');
}

/** Prolongs the life of a value that is what the row says, and drops one that is not: it never brings anything back. */
export function refresh(cell: Cell, version: number, value: string): Applied<'set' | 'deleted' | 'left'> {
  const head = headOf(cell);
  if (cell === undefined || head.kind !== 'row' || !cell.startsWith('V:') || head.version > version) return { cell, outcome: 'left' };
  const same = head.version === version && contentOf(cell) === contentOf(value);
  return same ? { cell: value, outcome: 'set' } : { cell: undefined, outcome: 'deleted' };
}
