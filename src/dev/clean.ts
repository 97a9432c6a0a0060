/** Part of `make clean`: removes the data of `make run`, unless it is running. */
import { rmSync } from 'node:fs';
import { dataFolders, repositoryFolder } from './data-folder.ts';
import { findRun } from './run-lock.ts';

process.chdir(repositoryFolder);
const run = await findRun();
if (run !== undefined) {
  console.error(`\`make run\` is running (process ${run.pid}); stop it first. Nothing was removed.`);
  process.exitCode = 1;
} else {
  for (const folder of dataFolders) rmSync(folder, { recursive: true, force: true });
}
