/** What msgctl says when something is wrong, and how it behaves on terminals, in pipes and with TLS. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../../src/dev/ports.ts';
import { callsTo } from '../support/calls.ts';
import { createDatabase } from '../support/database.ts';
import { msgctl, onTerminal } from '../support/msgctl.ts';
import { type ServiceProcess, startService } from '../support/processes.ts';

const opened = new AsyncDisposableStack();
let service: ServiceProcess;
let env: Readonly<Record<string, string>>;

beforeAll(async () => {
  const { url } = opened.use(await createDatabase());
  service = opened.use(await startService({ DATABASE_URL: url }));
  env = { MSGCTL_ADDRESS: `127.0.0.1:${service.grpcPort}` };
});
afterAll(() => opened.disposeAsync());

const ID = '01900000-0000-7000-8000-000000000001';

describe('a command line that is wrong', () => {
  it.each([
    [['nothing'], 'There is no command nothing.'],
    [['--json-lines'], 'Name a command.'],
    [['get'], 'ID is missing.'],
    [['get', ID, ID], `Unexpected argument ${ID}.`],
    [['list', '--sort'], "Unknown option '--sort'."],
    [['list', '--status', 'lost'], '--status lost: must be one of pending, sent, delivered, failed.'],
    [['list', '--limit', '0'], '--limit 0: must be a whole number from 1 to 1000000.'],
    [['list', '--since', 'yesterday'], '--since yesterday: must be a time such as 2026-11-28T17:00:00Z.'],
    [['list', '--limit', '5', '--all'], '--limit and --all exclude each other.'],
    [['send', '--to', '+14155552672'], '--from is required.'],
    [['send', '--body-file', '/nowhere'], '--body-file /nowhere cannot be read: ENOENT.'],
    [['dead-letter', 'replay'], 'Give either ids or --all.'],
    [['dead-letter', 'list', '--reason', 'rejected'], '--reason: dead letters have expired, attempts-exhausted, outcome-unknown;'],
    [['webhooks', 'replay', '--all'], '--all needs --state, such as --state quarantined.'],
    [['cache', 'warm', 'messages'], 'messages: must be one of message, conversation.'],
    [['cache', 'invalidate', 'message'], 'Give either ids or --all.'],
    [['health', '--cert', 'package.json'], '--cert and --key belong together'],
    [['health', '--ca', '/nowhere'], '--ca /nowhere cannot be read: ENOENT.'],
  ])('%j is refused before anything is done', async (args, message) => {
    // Nobody listens there: it would fail otherwise.
    const { code, stdout, stderr } = await msgctl(args, { MSGCTL_ADDRESS: '127.0.0.1:9' });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(`msgctl: ${message}`);
    expect(stderr).toMatch(/See msgctl --help, or msgctl COMMAND --help\.\n$/);
  });
});

describe('what fails', () => {
  it.each([
    [['get', ID], 'NOT_FOUND', `message ${ID} does not exist.`],
    [['get', '42'], 'INVALID_ARGUMENT', 'The service refuses this: id must be a valid UUID.'],
    [['cache', 'inspect', 'message', ID], 'FAILED_PRECONDITION', undefined],
    [['send', '--from', '+14155552671', '--to', 'x', '--body', 'hi'], 'INVALID_ARGUMENT', undefined],
  ])('%j is told in a sentence, or in JSON', async (args, codeName, sentence) => {
    const { code, stdout, stderr } = await msgctl(args, env);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    if (sentence !== undefined) expect(stderr).toContain(`msgctl: ${sentence} `);
    const { error } = JSON.parse((await msgctl([...args, '--json'], env)).stderr);
    expect(error).toMatchObject({ code: codeName, message: expect.stringMatching(/\.$/), advice: expect.stringMatching(/\.$/) });
    expect(stderr).toBe(`msgctl: ${error.message} ${error.advice}\n`);
  });

  it('says where it found no service, and what to do', async () => {
    const address = `127.0.0.1:${await freePort()}`;
    const { code, stderr } = await msgctl(['health', '--address', address], env);
    expect(code).toBe(1);
    expect(stderr).toBe(
      `msgctl: No service answers at ${address}: connect ECONNREFUSED ${address}. Start the service, or name another with --address or MSGCTL_ADDRESS; --ca or --tls when it speaks TLS.\n`,
    );
  });
});

describe('the environment of the service', () => {
  it('is checked with every error at once, and no secret', async () => {
    const wrong = { DATABASE_URL: 'secret-in-the-wrong-place', GRPC_PORT: 'x', REDIS_HOST: 'a', REDIS_SENTINELS: 'b:1' };
    const { code, stdout, stderr } = await msgctl(['config', 'check'], wrong);
    expect(code).toBe(1);
    for (const name of ['DATABASE_URL: must look like', 'GRPC_PORT: must be', 'REDIS_HOST, REDIS_SENTINELS'])
      expect(stdout).toContain(name);
    expect(stdout + stderr).not.toContain('secret-in');
    expect(JSON.parse((await msgctl(['config', 'check', '--json'], wrong)).stdout)).toMatchObject({
      ok: false,
      problems: expect.any(Array),
    });
  });

  it('is fit to start with, and its risks are named', async () => {
    const risky = {
      DATABASE_URL: 'postgresql://postgres:secret@db.example.com/messages',
      AUTH_MODE: 'off',
      PROCESS_ROLE: 'server',
      LOG_LEVEL: 'debug',
    };
    const { code, stdout } = await msgctl(['config', 'check'], risky);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^AUTH_MODE +off: whoever reaches the port may do everything/m);
    expect(stdout).toMatch(/^RATE_LIMITS +none:/m);
    expect(stdout).toMatch(/^DATABASE_URL +the user is the superuser/m);
    expect(stdout).toMatch(/^LOG_LEVEL +a line for every cache operation/m);
    expect(stdout).not.toContain('secret');
    expect(stdout).not.toContain('TWILIO_ACCOUNT_SID');
    const { ok, risks } = JSON.parse((await msgctl(['config', 'check', '--json'], risky)).stdout);
    expect(stdout).toContain(`The service would start. Risky settings: ${risks.length}.`);
    expect(ok).toBe(true);
  });
});

it('every command has its help', async () => {
  const { stdout } = await msgctl(['--help']);
  const names = [...stdout.matchAll(/^ {2}([a-z][a-z -]+?)(?: [A-Z[]| message\|| {2})/gm)].map(([, name = '']) => name.trim());
  expect(names).toContain('dead-letter replay');
  expect(names.length).toBeGreaterThanOrEqual(19);
  const helps = await Promise.all(names.map(async (name) => ({ name, ...(await msgctl([...name.split(' '), '--help'])) })));
  for (const { name, ...help } of helps) {
    expect(help, name).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining(`usage: msgctl ${name}`) });
  }
});

describe('on a terminal', () => {
  const node = `${process.execPath} src/msgctl/msgctl.ts`;
  beforeAll(async () => {
    for (let index = 0; index < 3; index += 1) await callsTo(service).send({ toAddress: `+1212555${3_000 + index}` });
  });

  it('a table is coloured, and no wider than the terminal where that can be', async () => {
    const { stdout } = await onTerminal(`${node} list`, env);
    expect(stdout).toContain('\x1b[33mpending');
    const plain = await onTerminal(`${node} list`, { ...env, NO_COLOR: '1' });
    expect(plain.stdout).not.toContain('\x1b[');
    expect(plain.stdout).toContain('+141555…');
    const { stdout: piped } = await msgctl(['list'], env);
    expect(piped).not.toContain('\x1b[');
    expect(piped).toContain('+14155552671');
  });

  it('long work has a bar that ends full', async () => {
    const webhooks = await onTerminal(`${node} dead-letter replay ${ID} ${ID.replace(/1$/, '2')}`, env);
    expect(webhooks.stdout).toMatch(/█{24} 100 % {2}dead letters {2}2 of 2\r?\n/);
  });

  it('a pipe that is closed early ends it without a complaint', async () => {
    // `true` is gone before the first line comes.
    const { stdout } = await onTerminal(`(${node} list; echo exit $? >&2) | true; ${node} list --json | head -1`, env);
    expect(stdout).toMatch(/^\{\r?$/m);
    expect(stdout).toContain('exit 0');
    expect(stdout).not.toContain('EPIPE');
  });
});

it('speaks TLS, and sends a token', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'msgctl-'));
  opened.defer(() => rmSync(folder, { recursive: true }));
  const [cert, key, token] = ['cert.pem', 'key.pem', 'token'].map((name) => join(folder, name)) as [string, string, string];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-keyout', key, '-out', cert, ...subject], {
    stdio: 'ignore',
  });
  writeFileSync(token, 'a-token\n');
  const { url } = opened.use(await createDatabase());
  await using secured = await startService({ DATABASE_URL: url, TLS_CERT_FILE: cert, TLS_KEY_FILE: key });
  const options = ['health', '--address', `localhost:${secured.grpcPort}`];
  expect(await msgctl([...options, '--ca', cert, '--token-file', token])).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('serving'),
  });
  expect(await msgctl(options, { MSGCTL_CA_FILE: cert })).toMatchObject({ code: 0 });
  // Signed by nobody that the system trusts.
  expect(await msgctl([...options, '--tls'])).toMatchObject({ code: 1, stderr: expect.stringContaining('No service answers') });
});
