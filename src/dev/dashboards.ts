/** `make dashboards` writes deploy/grafana/dashboards; with --check, part of `make check`, it fails when they are not what is written here. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDashboard } from './dashboard-cache.ts';
import { deliveryDashboard } from './dashboard-delivery.ts';
import { dependenciesDashboard } from './dashboard-dependencies.ts';
import { buildDashboard } from './dashboard-panels.ts';
import { rpcDashboard } from './dashboard-rpc.ts';

const folder = 'deploy/grafana/dashboards';
const dashboards = { rpc: rpcDashboard, cache: cacheDashboard, delivery: deliveryDashboard, dependencies: dependenciesDashboard };

const fresh = new Map(
  Object.entries(dashboards).map(([name, spec]) => [`${name}.json`, `${JSON.stringify(buildDashboard(spec), undefined, 2)}\n`]),
);
mkdirSync(folder, { recursive: true });
if (process.argv.includes('--check')) {
  const committed = new Set(readdirSync(folder));
  const problems = [
    ...[...fresh].flatMap(([name, text]) => {
      if (!committed.has(name)) return [`${name} is missing`];
      return readFileSync(join(folder, name), 'utf8') === text ? [] : [`${name} differs`];
    }),
    ...[...committed].filter((name) => !fresh.has(name)).map((name) => `${name} comes from nowhere`),
  ];
  if (problems.length > 0) {
    console.error(
      `${folder} is not what src/dev/dashboard-*.ts say; run \`make dashboards\` and commit the result.\n${problems.join('\n')}`,
    );
    process.exitCode = 1;
  }
} else {
  for (const [name, text] of fresh) writeFileSync(join(folder, name), text);
}
