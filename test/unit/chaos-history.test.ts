/** The checker itself: what it must find, and what it must let pass. */
import { describe, expect, it } from 'vitest';
import { createHistory, type History } from '../chaos/history.ts';

const KEY = 'message:1';

function historyAt(version: number): History {
  const history = createHistory();
  history.began(KEY, version, 0);
  return history;
}

describe('a read', () => {
  it('is right when it shows the last acknowledged version', () => {
    const history = historyAt(1);
    history.acknowledged(KEY, 2, 10);
    expect(history.read(KEY, 2, 11, 12)).toEqual({ stale: false, backward: false, ageMs: 0 });
  });

  it('is stale when it shows an older one, by the time since that was first overtaken', () => {
    const history = historyAt(1);
    history.acknowledged(KEY, 2, 10);
    history.acknowledged(KEY, 3, 20);
    expect(history.read(KEY, 1, 110, 112)).toEqual({ stale: true, backward: false, ageMs: 100 });
    expect(history.read(KEY, 2, 113, 114)).toEqual({ stale: true, backward: false, ageMs: 93 });
  });

  it('may show what was right when it was invoked', () => {
    const history = historyAt(1);
    history.acknowledged(KEY, 2, 10);
    expect(history.read(KEY, 1, 9, 50)).toMatchObject({ stale: false, backward: false });
    expect(history.read(KEY, 1, 10, 60)).toMatchObject({ stale: false, backward: false });
    expect(history.read(KEY, 1, 11, 70)).toMatchObject({ stale: true });
  });

  it('may show a write that is under way, or not', () => {
    const history = historyAt(1);
    expect(history.read(KEY, 2, 5, 9)).toMatchObject({ stale: false, backward: false });
    expect(history.read(KEY, 1, 6, 9)).toMatchObject({ stale: false, backward: false });
  });

  it('goes backward when it shows less than one that had returned before', () => {
    const history = historyAt(1);
    history.read(KEY, 2, 5, 10);
    expect(history.read(KEY, 1, 15, 16)).toEqual({ stale: false, backward: true, ageMs: 5 });
    expect(history.read(KEY, 2, 17, 18)).toMatchObject({ backward: false });
  });

  it('may show less than one that ran beside it', () => {
    const history = historyAt(1);
    history.read(KEY, 2, 5, 10);
    expect(history.read(KEY, 1, 9, 12)).toMatchObject({ backward: false });
    expect(history.read(KEY, 1, 10, 13)).toMatchObject({ backward: false });
    expect(history.read(KEY, 1, 11, 14)).toMatchObject({ backward: true });
  });

  it('is not measured by other rows', () => {
    const history = historyAt(1);
    history.acknowledged('message:2', 7, 10);
    expect(history.read(KEY, 1, 20, 21)).toMatchObject({ stale: false, backward: false });
  });

  it('finds its place in a long history', () => {
    const history = historyAt(1);
    for (let version = 2; version <= 100; version += 1) history.acknowledged(KEY, version, version * 10);
    expect(history.read(KEY, 40, 2_000, 2_001)).toEqual({ stale: true, backward: false, ageMs: 2_000 - 410 });
    expect(history.read(KEY, 50, 505, 2_002)).toMatchObject({ stale: false });
    expect(history.read(KEY, 49, 505, 2_003)).toMatchObject({ stale: true });
  });
});

describe('a write', () => {
  it('whose outcome is unknown may show or not, but not come and go', () => {
    const history = historyAt(1);
    // Version 2 was written and nobody was told.
    expect(history.read(KEY, 1, 10, 11)).toMatchObject({ stale: false, backward: false });
    expect(history.read(KEY, 2, 12, 13)).toMatchObject({ stale: false, backward: false });
    expect(history.read(KEY, 1, 14, 15)).toMatchObject({ stale: false, backward: true });
  });

  it('of an unknown version counts as one more than those before it', () => {
    const history = historyAt(4);
    history.acknowledgedSome(KEY, 10);
    expect(history.read(KEY, 4, 11, 12)).toMatchObject({ stale: true });
    expect(history.read(KEY, 5, 13, 14)).toMatchObject({ stale: false });
    history.acknowledgedSome(KEY, 20);
    expect(history.read(KEY, 5, 21, 22)).toMatchObject({ stale: true });
    expect(history.read(KEY, 6, 23, 24)).toMatchObject({ stale: false });
  });

  it('that is acknowledged late does not take back what is known', () => {
    const history = historyAt(1);
    history.acknowledged(KEY, 3, 10);
    history.acknowledged(KEY, 2, 20);
    expect(history.read(KEY, 2, 30, 31)).toMatchObject({ stale: true, ageMs: 20 });
    expect(history.read(KEY, 3, 32, 33)).toMatchObject({ stale: false });
  });
});

describe('absence', () => {
  it('is stale of a row that nobody has begun to delete', () => {
    const history = historyAt(1);
    expect(history.read(KEY, 'absent', 10, 11)).toMatchObject({ stale: true });
  });

  it('is right before the row was acknowledged', () => {
    const history = createHistory();
    expect(history.read(KEY, 'absent', 5, 10)).toMatchObject({ stale: false, backward: false });
    history.acknowledged(KEY, 1, 12);
    expect(history.read(KEY, 'absent', 11, 13)).toMatchObject({ stale: false });
    expect(history.read(KEY, 'absent', 14, 15)).toMatchObject({ stale: true });
  });

  it('may show or not while the row is being deleted, but not come and go', () => {
    const history = historyAt(1);
    history.deletionBegan(KEY);
    expect(history.read(KEY, 1, 10, 11)).toMatchObject({ stale: false, backward: false });
    expect(history.read(KEY, 'absent', 12, 13)).toMatchObject({ stale: false, backward: false });
    expect(history.read(KEY, 1, 14, 15)).toMatchObject({ backward: true });
  });

  it('is for good when the deletion was acknowledged', () => {
    const history = historyAt(1);
    history.deletionBegan(KEY);
    history.deleted(KEY, 10);
    expect(history.read(KEY, 'absent', 11, 12)).toMatchObject({ stale: false, backward: false });
    expect(history.read(KEY, 9, 30, 31)).toMatchObject({ stale: true, ageMs: 20 });
  });
});

describe('an allowance', () => {
  it('lets a change show here and not there, until it ends', () => {
    const history = historyAt(1);
    const end = history.allowance(KEY);
    expect(history.read(KEY, 2, 10, 11)).toMatchObject({ backward: false });
    expect(history.read(KEY, 1, 12, 13)).toMatchObject({ stale: false, backward: false });
    history.acknowledged(KEY, 2, 200);
    end();
    expect(history.read(KEY, 1, 201, 202)).toMatchObject({ stale: true });
    history.read(KEY, 3, 203, 204);
    expect(history.read(KEY, 2, 205, 206)).toMatchObject({ backward: true });
  });

  it('lets no acknowledged write be forgotten', () => {
    const history = historyAt(1);
    history.allowance(KEY);
    history.acknowledged(KEY, 3, 10);
    expect(history.read(KEY, 2, 11, 12)).toMatchObject({ stale: true });
  });
});

it('refuses to be told out of order', () => {
  const history = historyAt(1);
  history.read(KEY, 1, 5, 10);
  expect(() => history.acknowledged(KEY, 2, 9)).toThrow('out of order');
});
