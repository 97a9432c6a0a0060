/** What the runbook tells people to type works: every block marked `runs`, against a service with messages in it. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { canInstall, findProgram } from '../../src/dev/debian.ts';
import { patiently } from '../support/cached-service.ts';
import { startDelivering } from '../support/delivering-service.ts';
import { blocks } from '../support/runbook.ts';
import { scrape } from '../support/scrape.ts';

const PROGRAMS = ['curl', 'jq', 'psql', 'redis-cli'].filter((name) => findProgram(name) === undefined);
const setup = blocks.filter(({ kind }) => kind === 'setup').map(({ text }) => text);
const runs = blocks.filter(({ kind }) => kind === 'runs');
const redis = inject('redis');

/** Where it could be had by `make peers`, what lacks it fails. */
describe.skipIf(redis === null || (PROGRAMS.length > 0 && !canInstall()))('the runbook', () => {
  const opened = new AsyncDisposableStack();
  let sql: pg.Client;
  let environment: NodeJS.ProcessEnv;

  beforeAll(async () => {
    const [host, port] = [redis?.host ?? '', String(redis?.port ?? '')];
    const env = { REDIS_HOST: host, REDIS_PORT: port, CACHE_KEY_PREFIX: 'runbook:' };
    const on = opened.use(await startDelivering({ env }));
    const { id } = await on.calls.send();
    await on.calls.readMessage(id);
    sql = opened.adopt(new pg.Client({ connectionString: on.databaseUrl }), (client) => client.end());
    await sql.connect();
    const { httpPort, grpcPort } = on.service;
    await vi.waitFor(async () => expect((await scrape(on.service)).sum('cache_trusted')).toBe(1), patiently);
    const addresses = { HTTP: `http://127.0.0.1:${httpPort}`, GRPC: `http://127.0.0.1:${grpcPort}`, DATABASE_URL: on.databaseUrl };
    environment = { ...process.env, ...env, ...addresses };
  });
  afterAll(() => opened.disposeAsync());

  it.each(runs.filter(({ language }) => language === 'sh'))('$section: these commands work: $begins', async ({ text }) => {
    expect(PROGRAMS, 'missing; see `make peers`').toEqual([]);
    const script = ['set -eo pipefail', ...setup, text].join('\n');
    const { stdout } = await promisify(execFile)('bash', ['-c', script], { env: environment });
    expect(stdout.trim()).not.toBe('');
  });

  it.each(runs.filter(({ language }) => language === 'sql'))('$section: this statement can be asked: $begins', async ({ text }) => {
    const { fields } = await sql.query(text);
    expect(fields.length).toBeGreaterThan(0);
  });
});
