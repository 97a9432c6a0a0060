/** Visits every state that any order of steps can reach, breadth first: the first violation has a shortest trace. */

import { wrongAtRest } from './promises.ts';
import { initialStates, type Model, type Step } from './protocol.ts';
import { at, type State, shown } from './state.ts';
import { keyOf } from './state-key.ts';
import { stepsOfReaders } from './steps-of-readers.ts';
import { stepsOfRelay } from './steps-of-relay.ts';
import { stepsOfWorld } from './steps-of-world.ts';
import { stepsOfWriter } from './steps-of-writers.ts';

export interface Exploration {
  readonly states: number;
  readonly transitions: number;
  readonly seconds: number;
  /** One line a step, the last one says what is wrong. Empty: nothing is. */
  readonly trace: readonly string[];
}

/** A model that grows beyond this is a mistake. */
const MAX_STATES = 5_000_000;

interface Found {
  readonly id: number;
  readonly state: State;
}

function stepsFrom(model: Model, state: State): readonly Step[] {
  return [
    ...state.writers.flatMap((_writer, index) => stepsOfWriter(model, state, index)),
    ...stepsOfReaders(model, state),
    ...stepsOfRelay(model, state),
    ...stepsOfWorld(model, state),
  ];
}

export function explore(model: Model): Exploration {
  const started = performance.now();
  const ids = new Map<string, number>();
  const parents: number[] = [];
  let transitions = 0;
  let level: Found[] = [];

  function visit(state: State, parent: number): Found | undefined {
    const key = keyOf(model, state);
    if (ids.has(key)) return undefined;
    const id = ids.size;
    if (id >= MAX_STATES) throw new Error(`${model.scenario.name}: more than ${MAX_STATES} states`);
    ids.set(key, id);
    parents.push(parent);
    return { id, state };
  }
  const result = (trace: readonly string[]): Exploration => ({
    states: ids.size,
    transitions,
    seconds: (performance.now() - started) / 1_000,
    trace,
  });

  for (const state of initialStates(model.scenario)) level.push(...found(visit(state, -1)));
  while (level.length > 0) {
    const next: Found[] = [];
    for (const { id, state } of level) {
      for (const step of stepsFrom(model, state)) {
        transitions += 1;
        const reached = step.next === state ? undefined : visit(step.next, id);
        const violation = step.violation ?? (reached && wrongAtRest(model, step.next));
        if (violation !== undefined) return result([...traceTo(model, ids, parents, id), line(step), `VIOLATION ${violation}`]);
        if (reached !== undefined) next.push(reached);
      }
    }
    level = next;
  }
  return result([]);
}

function found(item: Found | undefined): readonly Found[] {
  return item === undefined ? [] : [item];
}

function line({ actor, action }: Step): string {
  return `${actor.padEnd(9)} ${action}`;
}

/** Only keys are kept of visited states, so the way is walked once more. */
function traceTo(model: Model, ids: ReadonlyMap<string, number>, parents: readonly number[], last: number): readonly string[] {
  const path = [last];
  for (let id = at(parents, last); id >= 0; id = at(parents, id)) path.unshift(id);
  let state = initialStates(model.scenario).find((initial) => ids.get(keyOf(model, initial)) === path[0]);
  if (state === undefined) throw new Error('a trace begins at no initial state');
  const lines = [line({ actor: 'at first', action: `the row is v1, the cell ${shown(state.cell)}`, next: state })];
  for (const id of path.slice(1)) {
    const step: Step | undefined = stepsFrom(model, state).find((candidate) => ids.get(keyOf(model, candidate.next)) === id);
    if (step === undefined) throw new Error('a trace breaks off');
    lines.push(line(step));
    state = step.next;
  }
  return lines;
}
