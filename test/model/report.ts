/** `make model`: explores all of it and prints what was found. Names of mutants or limits as arguments print their traces. */
import { explore } from './explore.ts';
import { limits } from './limits.ts';
import { type Mutant, mutants } from './mutants.ts';
import { coherent, type Scenario } from './protocol.ts';
import { deepScenarios } from './scenarios.ts';

const EXAMPLE = 'join by key';

const names = process.argv.slice(2);
const printed = new Set(names.length === 0 ? [EXAMPLE] : names);
const traces: string[] = [];

function print(first: string, second: string, numbers: readonly (string | number)[]): void {
  console.log([first.padEnd(44), second.padEnd(26), ...numbers.map((number) => `${number}`.padStart(12))].join(' ').trimEnd());
}

function keepTrace(name: string, trace: readonly string[]): void {
  traces.push(`\n${name}`, ...trace.map((line) => `  ${line}`));
}

/** Whether the scenario keeps its promises. */
function reportScenario(scenario: Scenario): boolean {
  const { states, transitions, seconds, trace } = explore({ scenario, protocol: coherent });
  const violations = trace.length === 0 ? 0 : 1;
  if (violations > 0) keepTrace(scenario.name, trace);
  print(scenario.name, '', [states, transitions, seconds.toFixed(1), violations]);
  return violations === 0;
}

/** Whether the violation is found. */
function reportMutant({ name, scenario, protocol, violation }: Mutant): boolean {
  const { states, trace } = explore({ scenario, protocol });
  const isFound = trace.at(-1)?.includes(violation) === true;
  if (printed.has(name)) keepTrace(name, trace);
  // The first line is the initial state, the last one the violation.
  print(name, scenario.name, [states, isFound ? 'found' : 'NOT FOUND', trace.length - 2]);
  return isFound;
}

print('scenario', '', ['states', 'transitions', 'seconds', 'violations']);
const kept = deepScenarios.map(reportScenario);
console.log();
print('mutant', 'scenario', ['states', 'violation', 'steps']);
const caught = mutants.map(reportMutant);
console.log();
print('not promised', 'scenario', ['states', 'violation', 'steps']);
const shown = limits.map(reportMutant);
console.log(traces.join('\n'));
process.exitCode = [...kept, ...caught, ...shown].every(Boolean) ? 0 : 1;
