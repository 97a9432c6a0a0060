/** msgctl as a process, as a terminal or a script runs it. */
import { spawn } from 'node:child_process';

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  /** What it has printed so far. */
  readonly stdout: () => string;
  readonly kill: (signal: NodeJS.Signals) => void;
  readonly ended: Promise<Ended>;
}

/** Nothing of this machine's own settings. */
const environment = (env: Readonly<Record<string, string>>): NodeJS.ProcessEnv => ({ PATH: process.env['PATH'], TERM: 'xterm', ...env });

export function startMsgctl(args: readonly string[], env: Readonly<Record<string, string>> = {}, input = ''): Running {
  const child = spawn(process.execPath, ['src/msgctl/msgctl.ts', ...args], { env: environment(env) });
  const texts = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk) => {
    texts.stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    texts.stderr += chunk;
  });
  child.stdin.end(input);
  const { promise, resolve } = Promise.withResolvers<Ended>();
  child.on('close', (code) => resolve({ code, ...texts }));
  return { stdout: () => texts.stdout, kill: (signal) => child.kill(signal), ended: promise };
}

export const msgctl = (args: readonly string[], env: Readonly<Record<string, string>> = {}, input = ''): Promise<Ended> =>
  startMsgctl(args, env, input).ended;

/** Through a shell on a terminal of 90 columns of its own, with what the terminal got. */
export function onTerminal(command: string, env: Readonly<Record<string, string>>): Promise<Ended> {
  const child = spawn('script', ['-qec', `stty cols 90; ${command}`, '/dev/null'], { env: environment(env) });
  let stdout = '';
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  const { promise, resolve } = Promise.withResolvers<Ended>();
  child.on('close', (code) => resolve({ code, stdout, stderr: '' }));
  return promise;
}
