import { describe, expect, it } from 'vitest';
import { explore } from './explore.ts';
import { limits } from './limits.ts';
import { mutants } from './mutants.ts';
import { coherent } from './protocol.ts';
import { scenarios } from './scenarios.ts';

/** Fewer states than this explore next to nothing. */
const FEWEST_STATES = 10_000;
const timeout = 60_000;

describe('the coherent cache, in every order of its steps', () => {
  it.each(scenarios)('keeps its promises: $name', { timeout }, (scenario) => {
    const { states, trace } = explore({ scenario, protocol: coherent });
    expect(trace).toEqual([]);
    expect(states).toBeGreaterThan(FEWEST_STATES);
  });

  it.each(mutants)('needs every piece: $name', { timeout }, (mutant) => {
    expect(explore(mutant).trace.at(-1)).toContain(mutant.violation);
  });

  it.each(limits)('does not promise more: $name', { timeout }, (limit) => {
    expect(explore(limit).trace.at(-1)).toContain(limit.violation);
  });

  it('tells how a promise is broken, in as few steps as it takes', () => {
    const traces = mutants.filter(({ name }) => name === 'join by key').map((mutant) => explore(mutant).trace);
    expect(traces).toEqual([
      [
        'at first  the row is v1, the cell -> nothing',
        'reader 1  GET -> nothing; lease -> L:r1',
        'writer 1  UPDATE, row locked; mark -> W:2.w1',
        'reader 1  SELECT -> v1',
        'writer 1  COMMIT v2',
        'writer 1  settle -> nothing; acknowledged',
        'a reader  GET -> nothing; joins the load of reader 1',
        'VIOLATION a read started after v2 was acknowledged, and got v1',
      ],
    ]);
  });
});
