/** `make worker`: one more worker, with the configuration of the environment or else of the `make run` of this clone. */
import { join } from 'node:path';
import { repositoryFolder } from './data-folder.ts';
import { freePort } from './ports.ts';
import { findRun } from './run-lock.ts';
import { supervise } from './supervised-process.ts';

process.chdir(repositoryFolder);
const run = process.env['DATABASE_URL'] ? undefined : await findRun();
if (!process.env['DATABASE_URL'] && run?.settings === undefined) {
  console.error('Set DATABASE_URL, or start `make run` in another terminal: a worker works for its database.');
  process.exit(1);
}
const env = { ...process.env, ...run?.settings, HTTP_PORT: process.env['HTTP_PORT'] ?? String(await freePort()), PROCESS_ROLE: 'worker' };
const worker = await supervise({ command: process.execPath, args: [join(repositoryFolder, 'src/start.ts')], stopSignal: 'SIGTERM', env });
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void worker.stop());
process.exitCode = await worker.exited;
