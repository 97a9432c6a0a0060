/**
 * `make bench`: every contender side by side, all answering the same call for the same rows. `SHORT=1`: fewer and shorter rounds, for a
 * look. Ends with code 0 also when goals are missed; a single request that fails, or a wrong answer, ends it at once.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { drawChart } from './chart.ts';
import { checkAnswers } from './check-answers.ts';
import { judgeGoals } from './goals.ts';
import { readGrowth } from './growth-result.ts';
import { askH2load } from './h2load.ts';
import { type Lab, openLab, type RunningContender } from './lab.ts';
import { type Measurement, measure, warmUp } from './measure.ts';
import { contenders, FULL, type Scenario, SHORT, scenarios, tableRows } from './plan.ts';
import { cpuUs, residentMegabytes } from './process-cost.ts';
import { barsOf, printGoals, printReport } from './report.ts';
import { requestSets } from './requests.ts';
import { versions } from './versions.ts';
import { readWatchers } from './watchers-result.ts';

const isShort = (process.env['SHORT'] ?? '') !== '';
const form = isShort ? SHORT : FULL;
const IDLE_MS = 1_000;
const UNLOADED: ReadonlySet<string> = new Set(['floor', 'strong', 'bounded', 'send', 'send-no-cache']);
const SECOND_OPINION = ['floor', 'strong'] as const;

const began = performance.now();
const say = (what: string): void => console.log(`  ${((performance.now() - began) / 1_000).toFixed(0).padStart(4)} s  ${what}`);

type Servers = ReadonlyMap<string, RunningContender>;

async function startAll(lab: Lab, opened: AsyncDisposableStack): Promise<Servers> {
  const servers = await Promise.all(contenders.map(async (contender) => opened.use(await lab.start(contender))));
  for (const server of servers) await server.thaw();
  await checkAnswers(servers, lab.postgresUrl);
  for (const server of servers) server.freeze();
  say(`${servers.length} contenders serve and answer rightly`);
  return new Map(servers.map((server) => [server.name, server]));
}

/** One after the other, each with its core to itself: all others are frozen. */
async function eachScenario(servers: Servers, work: (server: RunningContender, scenario: Scenario) => Promise<void>): Promise<void> {
  for (const scenario of scenarios) {
    const server = servers.get(scenario.contender);
    if (server === undefined) throw new Error(`there is no contender ${scenario.contender}`);
    await server.thaw();
    await work(server, scenario);
    server.freeze();
  }
}

/** What all of them take of the core while none of them is asked, in per cent. */
async function idlePercent(servers: Servers): Promise<number> {
  const sumUs = (): number => [...servers.values()].reduce((sum, { pid }) => sum + cpuUs(pid), 0);
  const before = sumUs();
  await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  return (sumUs() - before) / IDLE_MS / 10;
}

await using opened = new AsyncDisposableStack();
const databases = contenders.flatMap(({ database }) => database ?? []);
const lab = opened.use(await openLab({ rows: tableRows(form), databases }));
say('PostgreSQL and Redis serve');
for (const set of requestSets(form.coldRows)) await lab.load.remember(set);
const servers = await startAll(lab, opened);
await eachScenario(servers, (server, scenario) => warmUp(lab, server, scenario, form));
const idle = await idlePercent(servers);
say(`warm; those that wait take ${idle.toFixed(1)} % of the core`);

const results = new Map<string, Measurement[]>(scenarios.map(({ key }) => [key, []]));
for (let round = 0; round < form.rounds; round += 1) {
  await eachScenario(servers, async (server, scenario) => {
    const asked = { latency: !isShort || round === 0, unloaded: UNLOADED.has(scenario.key) };
    results.get(scenario.key)?.push(await measure(lab, server, scenario, form, asked));
  });
  say(`round ${round + 1} of ${form.rounds}`);
}

const resident = new Map([...servers].map(([name, { pid }]) => [name, residentMegabytes(pid)]));
const h2load: Record<string, number> = {};
await eachScenario(servers, async (server, { key }) => {
  if (isShort || !(SECOND_OPINION as readonly string[]).includes(key)) return;
  const requestsPerSecond = await askH2load(server);
  if (requestsPerSecond !== undefined) h2load[key] = requestsPerSecond;
});
for (const server of servers.values()) await server.thaw();
await checkAnswers([...servers.values()], lab.postgresUrl);
say('and still answer rightly');

const goals = judgeGoals(results, readGrowth(), readWatchers());
printReport(results, resident, h2load);
printGoals(goals);
const record = {
  date: new Date().toISOString(),
  command: isShort ? 'make bench SHORT=1' : 'make bench',
  versions: await versions(lab),
  form,
  idlePercent: idle,
  residentMegabytes: Object.fromEntries(resident),
  h2loadRequestsPerSecond: h2load,
  goals,
  rounds: Object.fromEntries(results),
};
const file = isShort ? '.cache/bench-short.json' : 'bench/results/bench.json';
mkdirSync('.cache', { recursive: true });
writeFileSync(file, `${JSON.stringify(record, undefined, 2)}\n`);
if (!isShort)
  writeFileSync(
    'bench/results/bench.svg',
    drawChart('CPU per GetMessage, in times of a bare node:http2 server (logarithmic)', barsOf(results)),
  );
console.log(`\n  ${file}${isShort ? '; results in bench/results are of the full form only' : ', bench/results/bench.svg'}`);
