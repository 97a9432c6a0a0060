/** From a clone to a Python program, with mTLS on, by exactly the commands of README. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freePort } from '../../src/dev/ports.ts';

const HEADING = '## From clone to a Python program\n';
/** What a clone has; packages are installed, as `make` would do it. */
const CLONED = ['Makefile', 'package.json', 'package-lock.json', 'tsconfig.json', 'buf.yaml', 'buf.gen.yaml', 'proto', 'gen', 'src'];
const START = 'make run TLS=1';
/** Longer than a slow machine takes for PostgreSQL, a migration and a delivery. */
const PATIENCE_MS = 300_000;

const commands = (/```sh\n([\s\S]*?)```/.exec(readFileSync('README.md', 'utf8').split(HEADING)[1] ?? '')?.[1] ?? '')
  // A line that ends in \ goes on in the next one.
  .replaceAll(/\\\n\s*/g, '')
  .split('\n')
  .map((line) => line.replace(/\s+#.*$/, '').trim())
  .filter((line) => line !== '');
const missing = ['/usr/bin/protoc', '/usr/bin/grpc_python_plugin', '/usr/lib/python3/dist-packages/grpc/__init__.py'].filter(
  (path) => !existsSync(path),
);

const folder = mkdtempSync(join(tmpdir(), 'messaging-clone-'));
let env: NodeJS.ProcessEnv;
let grpcPort: number;
let service: ChildProcess;
let output = '';

beforeAll(async () => {
  // PostgreSQL has an account of its own.
  chmodSync(folder, 0o755);
  for (const name of CLONED) cpSync(name, join(folder, name), { recursive: true, preserveTimestamps: true });
  symlinkSync(resolve('node_modules'), join(folder, 'node_modules'));
  grpcPort = await freePort();
  const { PATH, HOME } = process.env;
  // Debian's packages belong to its own Python.
  env = { PATH: `/usr/bin:${PATH}`, HOME, GRPC_PORT: String(grpcPort), HTTP_PORT: String(await freePort()), LOG_LEVEL: 'warn' };
});
afterAll(async () => {
  if (service?.pid !== undefined && service.exitCode === null) {
    const ended = new Promise((done) => service.once('close', done));
    process.kill(-service.pid, 'SIGINT');
    await ended;
  }
  rmSync(folder, { recursive: true, force: true });
});

/** Resolves when the service says that it serves; its output is told when it ends before. */
async function start(command: string): Promise<void> {
  service = spawn('bash', ['--norc', '-c', `exec ${command}`], { cwd: folder, env, detached: true });
  const serving = Promise.withResolvers<void>();
  for (const stream of [service.stdout, service.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (output.includes('Try it, in another terminal')) serving.resolve();
    });
  }
  service.once('close', (code) => serving.reject(new Error(`${command} ended with ${code}:\n${output}`)));
  await serving.promise;
}

/** A shell takes a socket for a remote login and would read ~/.bashrc, which may choose another Python. */
async function run(command: string): Promise<string> {
  const here = command.replaceAll('localhost:50051', `localhost:${grpcPort}`);
  const { stdout } = await promisify(execFile)('bash', ['--norc', '-c', here], { cwd: folder, env }).catch(
    (error: { stdout: string; stderr: string }) => {
      throw new Error(`${here}: ${error.stdout}${error.stderr}`);
    },
  );
  return stdout;
}

it('sends a message and watches it until it is delivered', { timeout: PATIENCE_MS }, async (context) => {
  if (missing.length > 0) context.skip(`missing on this machine: ${missing.join(', ')}`);
  expect(commands).toContain(START);
  let told = '';
  for (const command of commands) {
    if (command.startsWith('apt-get ')) continue;
    if (command === START) await start(command);
    else told = await run(command);
  }
  expect(told).toMatch(/^sent [0-9a-f-]{36}\n(MESSAGE_STATUS_PENDING\n)?(MESSAGE_STATUS_SENT\n)?MESSAGE_STATUS_DELIVERED\n$/);

  // Nobody gets in without a certificate, and the program tells why.
  const program = commands.at(-1) ?? '';
  const stranger = run(program.replace(/ --cert \S+ --key \S+/, ''));
  await expect(stranger).rejects.toThrow('UNAUTHENTICATED CREDENTIALS_INVALID');
});
