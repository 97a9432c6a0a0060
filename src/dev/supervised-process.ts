/** Child processes that end with the one that started them, however that one ends. */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Account } from './data-folder.ts';

const stopTimeoutMs = 15_000;
const readyTimeoutMs = 60_000;

/**
 * Reads from a pipe that only the starting process holds open, so it wakes when that process is gone, killed or not. Then it stops
 * the server and removes its temporary folder.
 */
const leash = `
read -r _
kill -CONT "$1"; kill -"$2" "$1"
tries=0
while kill -0 "$1" && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
kill -KILL "$1"
if [ -n "$3" ]; then rm -rf "$3"; fi
`;

export interface SupervisedOptions {
  readonly command: string;
  readonly args: readonly string[];
  /** Asks it to end in order. */
  readonly stopSignal: 'SIGINT' | 'SIGTERM';
  /** Ends it at once. */
  readonly killSignal?: 'SIGKILL' | 'SIGQUIT';
  readonly account?: Account | undefined;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Removed when the starting process is killed before it could do so itself. */
  readonly temporaryFolder?: string | undefined;
  /** Receives what it writes, as it comes; without it the output goes to the terminal. */
  readonly onOutput?: (text: string) => void;
}

export interface Supervised {
  readonly pid: number;
  /** Resolves to the exit code, 128 + n after signal n. Never rejects. */
  readonly exited: Promise<number>;
  /** Asks it to end, ends it hard after 15 s, and resolves to the exit code. */
  stop(): Promise<number>;
  /** Ends it hard and resolves to the exit code. */
  kill(): Promise<number>;
}

const alive = new Set<() => void>();

/** Ends every supervised process of this one at once, without waiting. */
export function killAllSupervised(): void {
  for (const kill of alive) kill();
}

function started(child: ChildProcess, command: string): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', (error) => reject(new Error(`${command} cannot be started: ${error.message}`)));
    child.once('spawn', () => resolve(child.pid ?? 0));
  });
}

/** Throws when the command cannot be started. Its process group is its own: Ctrl-C reaches only the starting process. */
export async function supervise(options: SupervisedOptions): Promise<Supervised> {
  const { command, args, stopSignal, killSignal = 'SIGKILL', account, cwd, env, temporaryFolder, onOutput } = options;
  const stdio: StdioOptions = onOutput === undefined ? ['ignore', 'inherit', 'inherit'] : ['ignore', 'pipe', 'pipe'];
  const child = spawn(command, args, { stdio, detached: true, ...account, ...(cwd && { cwd }), ...(env && { env }) });
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => onOutput?.(text));
  }
  const pid = await started(child, command);
  const guard = spawn('/bin/sh', ['-c', leash, 'leash', String(pid), stopSignal.slice(3), temporaryFolder ?? ''], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  guard.unref();
  // A pipe to a child is a socket, whose handle would otherwise keep the starting process alive.
  (guard.stdin as unknown as { unref?: () => void } | null)?.unref?.();

  const send = (signal: NodeJS.Signals) => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
  };
  const kill = () => send(killSignal);
  alive.add(kill);
  const exited = new Promise<number>((resolve) => {
    child.once('exit', (code, signal) => {
      guard.kill('SIGKILL');
      alive.delete(kill);
      const end = () => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
      // 'close' says that all output was read, but a stray grandchild can keep it from coming.
      child.once('close', end);
      setTimeout(end, 2_000).unref();
    });
  });

  return {
    pid,
    exited,
    async stop() {
      send('SIGCONT');
      send(stopSignal);
      const timer = setTimeout(kill, stopTimeoutMs);
      const code = await exited;
      clearTimeout(timer);
      return code;
    },
    kill() {
      kill();
      return exited;
    },
  };
}

/** Starts a server and waits until what it wrote says that it serves. Throws with what it wrote when it ends before that. */
export async function superviseUntil(isReady: (output: string) => boolean, options: SupervisedOptions): Promise<Supervised> {
  let output = '';
  const ready = Promise.withResolvers<'ready'>();
  const server = await supervise({
    ...options,
    onOutput: (text) => {
      output = (output + text).slice(-8_192);
      options.onOutput?.(text);
      if (isReady(output)) ready.resolve('ready');
    },
  });
  const timer = setTimeout(() => server.stop(), readyTimeoutMs);
  const outcome = await Promise.race([ready.promise, server.exited]);
  clearTimeout(timer);
  if (outcome !== 'ready') throw new Error(`${options.command} ended with code ${outcome} before it served:\n${output.trim()}`);
  return server;
}
