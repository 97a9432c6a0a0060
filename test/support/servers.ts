/** PostgreSQL and Redis of a test's own, to stop, restart and freeze. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { startPostgres } from '../../src/dev/postgres.ts';
import { startRedis } from '../../src/dev/redis.ts';
import { migrateDatabase } from './database.ts';

export interface OwnServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** Ends it: connections are closed, new ones refused. Resolves when it is gone. */
  stop(): Promise<void>;
  /** Starts it again on the same port. Resolves when it serves. */
  start(): Promise<void>;
  /** Freezes it: connections stay open and new ones are taken, but nothing answers. */
  pause(): void;
  resume(): void;
}

export interface OwnPostgres extends OwnServer {
  /** Of a database with the current schema; its data survive `stop`. */
  readonly url: string;
}

interface Running extends AsyncDisposable {
  readonly port: number;
  readonly pid: number;
}

/** The process and everything below it: PostgreSQL has one process per connection. */
function family(pid: number): readonly number[] {
  const rows = execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' }).trim().split('\n');
  const pairs = rows.map((row) => row.trim().split(/\s+/).map(Number));
  const childrenOf = (parent: number): number[] =>
    pairs.flatMap(([child, its]) => (its === parent && child !== undefined ? [child, ...childrenOf(child)] : []));
  return [pid, ...childrenOf(pid)];
}

function signal(pids: readonly number[], name: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, name);
    } catch {
      // Ended since it was listed.
    }
  }
}

async function own<T extends Running>(launch: (port?: number) => Promise<T>, cleanUp: () => void) {
  const first = await launch();
  const { port } = first;
  let running: T | undefined = first;
  let frozen: readonly number[] = [];
  const resume = () => {
    signal(frozen, 'SIGCONT');
    frozen = [];
  };
  const stop = async () => {
    resume();
    await running?.[Symbol.asyncDispose]();
    running = undefined;
  };
  return {
    first,
    server: {
      host: '127.0.0.1',
      port,
      stop,
      async start() {
        running ??= await launch(port);
      },
      pause() {
        if (running === undefined) throw new Error('The server is stopped.');
        // The parent first, so that it makes no child that goes unlisted.
        signal([running.pid], 'SIGSTOP');
        frozen = family(running.pid);
        signal(frozen, 'SIGSTOP');
      },
      resume,
      async [Symbol.asyncDispose]() {
        await stop();
        cleanUp();
      },
    } satisfies OwnServer,
  };
}

/** Throws when this machine has no Redis; ask `inject('redis')` first. It starts empty each time. */
export async function startOwnRedis(args: readonly string[] = []): Promise<OwnServer> {
  const launch = async (port?: number) => {
    const redis = await startRedis({ args, ...(port !== undefined && { port }) });
    if (redis === undefined) throw new Error('There is no redis-server; run `make peers`.');
    return redis;
  };
  return (await own(launch, () => {})).server;
}

export async function startOwnPostgres(): Promise<OwnPostgres> {
  const folder = mkdtempSync('/tmp/messaging-own-postgres-');
  chmodSync(folder, 0o755);
  const launch = (port?: number) => startPostgres({ dataDir: join(folder, 'data'), fast: true, ...(port !== undefined && { port }) });
  const { first, server } = await own(launch, () => rmSync(folder, { recursive: true, force: true }));
  await migrateDatabase(first.url);
  return { ...server, url: first.url };
}
