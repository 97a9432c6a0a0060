/** The protocol with one piece taken out or replaced by what is usually done. The exploration must report each: that is why the piece is there. */
import * as cellTable from '../support/cell-table.ts';
import { coherent, type Protocol, type Scenario } from './protocol.ts';
import { deleteAndInsert, evictions, failover, lateAndOutside, outsideSql, timePasses } from './scenarios.ts';

export interface Mutant {
  readonly name: string;
  readonly scenario: Scenario;
  readonly protocol: Protocol;
  /** Part of what the last line of the trace says. */
  readonly violation: string;
}

const { headOf } = cellTable;

const deleteThenOutsideInsert: Scenario = { ...deleteAndInsert, writers: ['delete'], outside: ['insert'] };

function withCells(cells: Partial<Protocol['cells']>): Protocol {
  return { ...coherent, cells: { ...coherent.cells, ...cells } };
}

/** Without a lease: the loader fills when the cell is empty or holds an older version. */
const versionCompare = withCells({
  lease: (cell) => ({ cell, outcome: cell === undefined ? 'taken' : 'refused' }),
  fill(cell, _token, value) {
    const head = headOf(cell);
    const loaded = headOf(value);
    const isOlder = head.kind === 'row' && loaded.kind === 'row' && head.version < loaded.version;
    return head.kind === 'absent' || isOlder ? { cell: value, outcome: 'filled' } : { cell, outcome: 'refused' };
  },
});

export const mutants: readonly Mutant[] = [
  {
    name: 'no taint',
    violation: 'at rest',
    scenario: outsideSql,
    protocol: withCells({
      bump: (cell, version) => (headOf(cell).kind === 'mark' ? { cell, outcome: 'left' } : cellTable.bump(cell, version)),
    }),
  },
  {
    name: 'acknowledge before settle',
    violation: 'was acknowledged',
    scenario: evictions,
    protocol: { ...coherent, acknowledge: 'before settle' },
  },
  { name: 'join by key', violation: 'was acknowledged', scenario: evictions, protocol: { ...coherent, join: 'by key' } },
  {
    name: 'plain SET fill',
    violation: 'was acknowledged',
    scenario: evictions,
    protocol: withCells({ fill: (_cell, _token, value) => ({ cell: value, outcome: 'filled' }) }),
  },
  { name: 'version compare instead of lease', violation: 'was acknowledged', scenario: evictions, protocol: versionCompare },
  {
    name: 'delete before commit, instead of mark',
    violation: 'was returned',
    scenario: evictions,
    protocol: withCells({ mark: () => ({ cell: undefined, outcome: 'marked' }) }),
  },
  {
    name: 'no mark',
    violation: 'was returned',
    scenario: evictions,
    protocol: withCells({ mark: (cell) => ({ cell, outcome: 'marked' }) }),
  },
  {
    name: 'mark before the row lock',
    violation: 'was returned',
    scenario: evictions,
    protocol: { ...coherent, mark: 'before the row lock' },
  },
  {
    name: 'settle with value, mark unanswered',
    violation: 'at rest',
    scenario: lateAndOutside,
    protocol: { ...coherent, settleWithValue: 'always' },
  },
  { name: 'no relay', violation: 'at rest', scenario: outsideSql, protocol: { ...coherent, relay: 'never runs' } },
  {
    name: 'rows deleted before the bumps are answered',
    violation: 'at rest',
    scenario: outsideSql,
    protocol: { ...coherent, relay: 'does not wait for its bumps' },
  },
  {
    name: 'watermark before the bumps',
    violation: 'before the pass that published',
    scenario: outsideSql,
    protocol: { ...coherent, publish: 'before the bumps' },
  },
  { name: 'new epoch keeps keys', violation: 'at rest', scenario: failover, protocol: { ...coherent, newEpoch: 'keeps keys' } },
  {
    name: 'lease on another connection than the GET',
    violation: 'before the pass that published',
    scenario: failover,
    protocol: { ...coherent, lease: 'on any connection' },
  },
  {
    // The bump of an insert has a lower version than the mark of the delete before it, and leaves that mark alone.
    name: 'delete settles with N:0',
    violation: 'at rest',
    scenario: deleteThenOutsideInsert,
    protocol: { ...coherent, settleOfDelete: 'with N:0' },
  },
  {
    // The bump of an insert does not even drop it.
    name: 'delete settles with N:version',
    violation: 'at rest',
    scenario: deleteThenOutsideInsert,
    protocol: { ...coherent, settleOfDelete: 'with N:version' },
  },
  {
    name: 'watermark lives from its publication',
    violation: 'more than 3 s ago',
    scenario: timePasses,
    protocol: { ...coherent, watermark: 'from its publication' },
  },
];
