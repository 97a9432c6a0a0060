/**
 * `make bench-profile CONTENDER=service`: where a contender's CPU time goes under load. CONTENDER is a contender or one of its scenarios in
 * plan.ts, such as `bounded` or `miss`.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryFolder } from '../src/dev/data-folder.ts';
import { selfTimes } from './cpu-profile.ts';
import { openLab } from './lab.ts';
import { measure, warmUp } from './measure.ts';
import { contenders, FULL, scenarios, tableRows } from './plan.ts';
import { requestSets } from './requests.ts';

const FUNCTIONS = 25;
const GROUPS = 20;
const WINDOW_MS = 10_000;
const INTERVAL_US = 250;

const wanted = process.env['CONTENDER'] || 'service';
const scenario = scenarios.find(({ key }) => key === wanted) ?? scenarios.find(({ contender }) => contender === wanted);
const contender = contenders.find(({ name }) => name === scenario?.contender);
if (scenario === undefined || contender === undefined) {
  throw new Error(`CONTENDER=${wanted} is none of ${scenarios.map(({ key }) => key).join(', ')}`);
}
const form = { ...FULL, windowMs: WINDOW_MS };
const folder = join(repositoryFolder, '.cache');
const name = `bench-${scenario.key}.cpuprofile`;
mkdirSync(folder, { recursive: true });
const nowUs = (): number => Number(process.hrtime.bigint() / 1_000n);

await using lab = await openLab({ rows: tableRows(form), databases: contender.database === undefined ? [] : [contender.database] });
for (const set of requestSets(form.coldRows)) await lab.load.remember(set);
let [fromUs, toUs] = [0, 0];
{
  const profiler = ['--cpu-prof', `--cpu-prof-dir=${folder}`, `--cpu-prof-name=${name}`, `--cpu-prof-interval=${INTERVAL_US}`];
  await using server = await lab.start(contender, profiler);
  await server.thaw();
  await warmUp(lab, server, scenario, form);
  fromUs = nowUs();
  const { cpuUs, requestsPerSecond } = await measure(lab, server, scenario, form, { latency: false, unloaded: false });
  toUs = nowUs();
  console.log(`  ${scenario.label}: ${cpuUs.toFixed(1)} µs a request, ${Math.round(requestsPerSecond)} requests/s under the profiler`);
}
const { functions, groups } = selfTimes(join(folder, name), fromUs, toUs);
const percent = (share: number): string => `${(100 * share).toFixed(1).padStart(7)} %`;
console.log('\n  by function, without what it calls');
for (const { name: place, share } of functions.slice(0, FUNCTIONS)) console.log(`${percent(share)}  ${place}`);
console.log('\n  by package or room');
for (const { name: place, share } of groups.slice(0, GROUPS)) console.log(`${percent(share)}  ${place}`);
console.log(`\n  The whole profile, for the developer tools of a browser: .cache/${name}`);
