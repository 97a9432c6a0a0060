/** What keeps the service from starting is said at once and clearly, and nothing is left behind. */
import { spawn } from 'node:child_process';
import { createServer, type Server } from 'node:net';
import { expect, inject, it } from 'vitest';
import { createDatabase } from '../support/database.ts';
import { startService } from '../support/processes.ts';

interface Ended {
  readonly exitCode: number | null;
  readonly output: string;
}

function run(env: Readonly<Record<string, string>>): Promise<Ended> {
  const settings = { PATH: process.env['PATH'], GRPC_PORT: '0', HTTP_PORT: '0', AUTH_MODE: 'off', ...env };
  const child = spawn(process.execPath, ['src/start.ts'], { env: settings });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  return new Promise((resolve) => {
    child.once('close', (exitCode) => resolve({ exitCode, output }));
  });
}

async function takenPort(): Promise<Server & AsyncDisposable & { readonly port: number }> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return Object.assign(server, { port: typeof address === 'object' && address !== null ? address.port : 0 });
}

it('every wrong variable is named in one report, without the values of secrets', async () => {
  const { exitCode, output } = await run({
    DATABASE_URL: 'mysql://admin:hunter2@db/x',
    GRPC_PORT: '70000',
    CACHE_TTL_SECONDS: 'soon',
    TLS_CERT_FILE: '/tmp/cert.pem',
    LOG_LEVEL: 'loud',
  });
  expect(exitCode).toBe(1);
  expect(output).toMatch(/^The configuration is wrong:\n/);
  for (const name of ['DATABASE_URL', 'GRPC_PORT', 'CACHE_TTL_SECONDS', 'TLS_CERT_FILE, TLS_KEY_FILE', 'LOG_LEVEL'])
    expect(output).toContain(`  ${name}: `);
  expect(output).not.toContain('hunter2');
  expect(output).not.toContain('    at ');
});

it.each(['GRPC_PORT', 'HTTP_PORT'])('%s that is taken is said in words', async (variable) => {
  await using database = await createDatabase();
  await using taken = await takenPort();
  const { exitCode, output } = await run({
    DATABASE_URL: database.url,
    GRPC_HOST: '127.0.0.1',
    HTTP_HOST: '127.0.0.1',
    [variable]: String(taken.port),
  });
  expect(exitCode).toBe(1);
  expect(output).toContain(`port ${taken.port} is in use`);
  expect(output).not.toContain('"msg":"serving"');
});

it('PostgreSQL that is away is fatal only to a migration; otherwise the service starts and waits for it', async () => {
  const url = new URL(inject('postgresUrl'));
  url.port = '1';
  url.password = 'hunter2';
  const { exitCode, output } = await run({ DATABASE_URL: url.href, DATABASE_MIGRATE_ON_START: 'true' });
  expect(exitCode).toBe(1);
  expect(output).toContain('"msg":"cannot start"');
  expect(output).not.toContain('hunter2');
  await using waiting = await startService({ DATABASE_URL: url.href });
  expect((await fetch(`http://127.0.0.1:${waiting.httpPort}/healthz`)).status).toBe(200);
  expect((await fetch(`http://127.0.0.1:${waiting.httpPort}/readyz`)).status).toBe(503);
  expect(await waiting.stop()).toBe(0);
});

it('a start that does not say who may call is refused, with what to do', async () => {
  const { exitCode, output } = await run({ DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/none', AUTH_MODE: '' });
  expect(exitCode).toBe(1);
  expect(output).toMatch(/AUTH_MODE: nothing says who may call\. Set TLS_CLIENT_CA_FILE .* or AUTH_MODE=off, for development alone\./);
});

it('authentication that is off is warned of at every start', async () => {
  await using service = await startService({ DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/none', AUTH_MODE: 'off' });
  expect(service.output()).toMatch(/"level":"warn".*authentication is off/);
});

it('keys of tokens that cannot be read from their file stop the start', async () => {
  const tokens = { AUTH_MODE: 'on', AUTH_JWKS_FILE: '/nowhere/jwks.json', AUTH_JWT_ISSUERS: 'i', AUTH_JWT_AUDIENCES: 'a' };
  const { exitCode, output } = await run({ DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/none', ...tokens });
  expect(exitCode).toBe(1);
  expect(output).toContain('"msg":"cannot start"');
});

it('a limit of a method that there is not stops the start', async () => {
  const { exitCode, output } = await run({ DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/none', RATE_LIMITS: 'SendMesage=1/1' });
  expect(exitCode).toBe(1);
  expect(output).toContain('"msg":"cannot start"');
});
