/** The client package as another team gets it: packed, unpacked where nothing else is, type-checked and run against the service. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createDatabase } from '../support/database.ts';
import { type ServiceProcess, startService } from '../support/processes.ts';

interface Manifest {
  readonly version: string;
  readonly dependencies: Readonly<Record<string, string>>;
}

const opened = new AsyncDisposableStack();
const folder = mkdtempSync(join(tmpdir(), 'messaging-consumer-'));
const env = { ...process.env, PATH: `${resolve('node_modules/.bin')}:${process.env['PATH']}` };
const manifest: Manifest = JSON.parse(readFileSync('src/client/package.json', 'utf8'));
let service: ServiceProcess;

const put = (name: string, text: string) => writeFileSync(join(folder, name), text);

/** What a command prints; it fails the test with that when it fails. */
async function run(command: string, args: readonly string[], cwd = folder): Promise<string> {
  const { stdout } = await promisify(execFile)(command, args, { cwd, env }).catch((error: { stdout: string; stderr: string }) => {
    throw new Error(`${command} ${args.join(' ')}: ${error.stdout}${error.stderr}`);
  });
  return stdout;
}

function link(name: string): void {
  const place = join(folder, 'node_modules', name);
  mkdirSync(dirname(place), { recursive: true });
  symlinkSync(resolve('node_modules', name), place);
}

beforeAll(async () => {
  const database = opened.use(await createDatabase());
  service = opened.use(await startService({ DATABASE_URL: database.url }));
  await run('node', ['src/dev/client-package.ts'], '.');
  const place = join(folder, 'node_modules/messaging-client');
  mkdirSync(place, { recursive: true });
  await run('tar', ['-xzf', resolve(`dist/messaging-client-${manifest.version}.tgz`), '-C', place, '--strip-components=1']);
  // What it says it needs, and nothing else; the types of Node are the consumer's own.
  for (const name of [...Object.keys(manifest.dependencies), '@types/node']) link(name);
  put('package.json', JSON.stringify({ name: 'consumer', private: true, type: 'module' }));
  const compilerOptions = { strict: true, module: 'nodenext', target: 'es2024', lib: ['es2024', 'esnext.disposable'], types: ['node'] };
  put('tsconfig.json', JSON.stringify({ compilerOptions: { ...compilerOptions, exactOptionalPropertyTypes: true, outDir: 'out' } }));
});
afterAll(async () => {
  await opened.disposeAsync();
  rmSync(folder, { recursive: true, force: true });
});

it('depends on what the service itself is tested with', () => {
  const { dependencies }: Manifest = JSON.parse(readFileSync('package.json', 'utf8'));
  for (const [name, range] of Object.entries(manifest.dependencies)) {
    const [wanted, installed] = [range.slice(1), dependencies[name] ?? ''].map((version) => version.split('.').map(Number));
    expect(range[0]).toBe('^');
    expect([name, installed?.[0]]).toEqual([name, wanted?.[0]]);
    expect((installed?.[1] ?? 0) * 1_000 + (installed?.[2] ?? 0)).toBeGreaterThanOrEqual((wanted?.[1] ?? 0) * 1_000 + (wanted?.[2] ?? 0));
  }
});

it('has its version in the table of what changed', () => {
  expect(readFileSync('src/client/README.md', 'utf8')).toContain(`\n| ${manifest.version} | `);
});

it('type-checks the example of its README, and refuses what the contract does not have', async () => {
  const [, example = ''] = /```ts\n([\s\S]*?)```/.exec(readFileSync('src/client/README.md', 'utf8')) ?? [];
  put('example.ts', example);
  await run('tsc', []);
  put(
    'wrong.ts',
    `import { createMessagingClient } from 'messaging-client';\nawait createMessagingClient('x').messages.getMessage({ ID: '1' });\n`,
  );
  await expect(run('tsc', [])).rejects.toThrow(/wrong\.ts.*'ID' does not exist/);
  rmSync(join(folder, 'wrong.ts'));
});

it('sends, reads, watches and tells errors', async () => {
  put(
    'consumer.ts',
    `import { createMessagingClient, MessagingError, MessageStatus, status } from 'messaging-client';
     using client = createMessagingClient(process.argv[2] ?? '');
     const sent = await client.messages.sendMessage({ message: { fromAddress: '+14155552671', toAddress: '+14155552672', body: 'hi' } });
     const id = sent.message?.id ?? '';
     const read = await client.messages.getMessage({ id }, { deadlineMs: 20_000 });
     let watched: string | undefined;
     for await (const { payload } of client.messages.watchMessages({ includeInitialState: true })) {
       if (payload.case === 'change') watched = payload.value.message?.id;
       if (watched !== undefined) break;
     }
     const error: unknown = await client.messages.getMessage({ id: 'nonsense' }).catch((reason: unknown) => reason);
     if (!(error instanceof MessagingError)) throw new Error('no MessagingError');
     const said = { code: status[error.code], reason: error.reason, field: error.fieldViolations[0]?.field };
     console.log(JSON.stringify({ same: read.message?.id === id && watched === id, status: MessageStatus[read.message?.status ?? 0], said }));`,
  );
  await run('tsc', []);
  const printed = await run('node', ['out/consumer.js', `127.0.0.1:${service.grpcPort}`]);
  expect(JSON.parse(printed)).toEqual({
    same: true,
    status: 'PENDING',
    said: { code: 'INVALID_ARGUMENT', reason: 'FIELD_INVALID', field: 'id' },
  });
});
