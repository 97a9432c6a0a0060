/** A real Redis for `make run` and the tests: the redis-server of this machine. */
import { mkdirSync } from 'node:fs';
import { findProgram, installPackages } from './debian.ts';
import { freePort } from './ports.ts';
import { superviseUntil } from './supervised-process.ts';

export interface RedisOptions {
  /** Keeps the data between starts. Without it Redis writes nothing to disk. */
  readonly dataDir?: string;
  /** Without it a free one. */
  readonly port?: number;
  /** Further settings, such as `--maxmemory 5mb`, word by word. */
  readonly args?: readonly string[];
  readonly log?: (text: string) => void;
}

export interface Redis extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly pid: number;
  readonly exited: Promise<number>;
}

/** Starts Redis on 127.0.0.1. undefined: this machine has none and none can be installed, so the cache must be off. */
export async function startRedis(options: RedisOptions = {}): Promise<Redis | undefined> {
  if (findProgram('redis-server') === undefined) installPackages(['redis-server']);
  const command = findProgram('redis-server');
  if (command === undefined) return undefined;
  const host = '127.0.0.1';
  const port = options.port ?? (await freePort());
  const { dataDir } = options;
  if (dataDir !== undefined) mkdirSync(dataDir, { recursive: true });
  const storage = dataDir === undefined ? ['--save', '', '--dir', '/tmp'] : ['--save', '60 1', '--dir', dataDir];
  const server = await superviseUntil((output) => output.includes('Ready to accept connections'), {
    command,
    args: ['--bind', host, '--port', String(port), '--appendonly', 'no', ...storage, ...(options.args ?? [])],
    stopSignal: 'SIGTERM',
    onOutput: (text) => options.log?.(text),
  });
  return { host, port, pid: server.pid, exited: server.exited, [Symbol.asyncDispose]: async () => void (await server.stop()) };
}
