/** Imported into a process (NODE_OPTIONS), it tries what the service has no business doing, and writes what became of each act. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';

const acts: Readonly<Record<string, () => unknown>> = {
  'read a file of the system': () => readFileSync('/etc/passwd'),
  'read the program': () => readFileSync(join(import.meta.dirname, '../../package.json')),
  'write a temporary file': () => mkdtempSync(join(tmpdir(), 'messaging-forbidden-')),
  'write into the program': () => writeFileSync(import.meta.filename, readFileSync(import.meta.filename)),
  'start a process': () => {
    const { error } = spawnSync('true');
    if (error !== undefined) throw error;
  },
  'start a thread': () => void new Worker('', { eval: true }).terminate(),
  'load native code': () => process.dlopen({ exports: {} }, join(import.meta.dirname, 'no-such-addon.node')),
};

function outcomeOf(act: () => unknown): string {
  try {
    act();
    return 'done';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

const outcomes = Object.fromEntries(Object.entries(acts).map(([name, act]) => [name, outcomeOf(act)]));
console.log(JSON.stringify({ acts: outcomes }));
