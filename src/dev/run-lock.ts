/**
 * One `make run` per clone. The lock is a listening socket, so it goes with its process however that ends, and whoever finds it
 * taken can ask the holder where it serves.
 */
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { text } from 'node:stream/consumers';

/** Relative to the clone: the path of a socket may have no more than about 100 characters. */
const socketPath = '.data/run.sock';

/** `host:port` of the running service; undefined while it starts. */
export interface RunAddress {
  readonly grpc: string;
  readonly http: string;
  /** URL of the simulator; undefined: real providers. */
  readonly simulator?: string;
  /** It asks for certificates, of those in `.data/certs/`. */
  readonly certs?: boolean;
}

export interface RunState {
  readonly pid: number;
  readonly address?: RunAddress;
  /** Variables with which another process works beside this one. Secrets of this run alone; the socket is its owner's. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** What the running `make run` of this clone says of itself; undefined when none runs. Call it from the root of the clone. */
export async function findRun(): Promise<RunState | undefined> {
  try {
    return JSON.parse(await text(createConnection(socketPath))) as RunState;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return undefined;
    throw error;
  }
}

export interface RunLock extends Disposable {
  /** Tells `make demo` and later runs where the service is. */
  publish(address: RunAddress, settings: Readonly<Record<string, string>>): void;
}

/** undefined: another run holds it. */
export async function takeRunLock(): Promise<RunLock | undefined> {
  mkdirSync('.data', { recursive: true });
  if ((await findRun()) !== undefined) return undefined;
  // What a killed run left.
  rmSync(socketPath, { force: true });
  let state: RunState = { pid: process.pid };
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.end(JSON.stringify(state));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, resolve);
  });
  chmodSync(socketPath, 0o600);
  server.unref();
  const release = () => {
    server.close();
    rmSync(socketPath, { force: true });
  };
  process.once('exit', release);
  return {
    publish(address, settings) {
      state = { ...state, address, settings };
    },
    [Symbol.dispose]() {
      process.removeListener('exit', release);
      release();
    },
  };
}
