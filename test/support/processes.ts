/** The service as a process of its own, for what only a process shows: signals, crashes, several replicas. */
import { variables } from '../../src/config-variables.ts';
import { superviseUntil } from '../../src/dev/supervised-process.ts';
import { laneSettings } from './lane.ts';

export interface ServiceProcess extends AsyncDisposable {
  /** 0 of a worker. */
  readonly grpcPort: number;
  readonly httpPort: number;
  readonly pid: number;
  readonly exited: Promise<number>;
  /** Asks it to end (SIGTERM) and resolves to its exit code. */
  stop(): Promise<number>;
  /** Ends it without a chance to tidy up (SIGKILL). */
  kill(): Promise<number>;
  /** Everything it has written, both streams. */
  output(): string;
}

interface Serving {
  readonly grpcPort: number;
  readonly httpPort: number;
}

/** The ports from the log line that says where it serves, once that line is complete. */
function findServing(output: string): Serving | undefined {
  for (const line of output.slice(0, output.lastIndexOf('\n') + 1).split('\n')) {
    if (!line.startsWith('{') || !line.includes('"serving"')) continue;
    const { msg, grpc_port, http_port } = JSON.parse(line) as { msg?: string; grpc_port?: number; http_port?: number };
    if (msg === 'serving' && http_port !== undefined) return { grpcPort: grpc_port ?? 0, httpPort: http_port };
  }
  return undefined;
}

/** What the machine's own environment says of these would make a test depend on it. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const isSetting = (name: string) => name in variables || /^(OTEL_|NODE_OPTIONS$|VITEST)/.test(name);
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !isSetting(name)));
}

/** Messages stay where they are, and callers have no names: whoever wants it otherwise says so. */
const ON_FREE_PORTS = {
  GRPC_HOST: '127.0.0.1',
  HTTP_HOST: '127.0.0.1',
  GRPC_PORT: '0',
  HTTP_PORT: '0',
  PROCESS_ROLE: 'server',
  AUTH_MODE: 'off',
};

/** Runs src/main.ts, or another `main`, on free ports until it serves, with no more rights than in production (src/start.ts). Throws with its output when it ends before. */
export async function startService(env: Readonly<Record<string, string>>, main = 'src/main.ts'): Promise<ServiceProcess> {
  let output = '';
  let serving: Serving | undefined;
  const child = await superviseUntil(
    () => {
      serving ??= findServing(output);
      return serving !== undefined;
    },
    {
      command: process.execPath,
      args: ['src/start.ts', main],
      stopSignal: 'SIGTERM',
      env: { ...cleanEnvironment(), ...laneSettings(), ...ON_FREE_PORTS, ...env },
      onOutput: (text) => {
        output += text;
      },
    },
  );
  if (serving === undefined) throw new Error('unreachable: it serves');
  return {
    ...serving,
    pid: child.pid,
    exited: child.exited,
    stop: () => child.stop(),
    kill: () => child.kill(),
    output: () => output,
    async [Symbol.asyncDispose]() {
      await child.stop();
    },
  };
}
