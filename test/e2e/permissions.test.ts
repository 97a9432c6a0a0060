/** The service runs with the rights that it needs and no others; src/start.ts gives them. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { heapArguments, permissionArguments } from '../../src/start.ts';
import { createDatabase } from '../support/database.ts';
import { startService } from '../support/processes.ts';
import { scrape } from '../support/scrape.ts';

const FORBIDDEN_ACTS = join(import.meta.dirname, '../support/forbidden-acts.ts');

const OWN = [
  '--permission',
  ...[join(import.meta.dirname, '../..'), '/proc/self/status', '/proc/self/limits', '/proc/self/fd'].map(
    (path) => `--allow-fs-read=${path}`,
  ),
];

it('it tells how much memory and how many files it has', async () => {
  await using database = await createDatabase();
  await using service = await startService({ DATABASE_URL: database.url });
  const metrics = await scrape(service);
  for (const name of ['process_resident_memory_bytes', 'process_virtual_memory_bytes', 'process_open_fds', 'process_max_fds']) {
    expect([name, metrics.sum(name) > 0]).toEqual([name, true]);
  }
});

it('its memory is given back, unless the environment says otherwise', async () => {
  await using database = await createDatabase();
  await using service = await startService({ DATABASE_URL: database.url, MALLOC_ARENA_MAX: '3' });
  const environment = readFileSync(`/proc/${service.pid}/environ`, 'latin1').split('\0');
  const set = environment.filter((setting) => setting.startsWith('MALLOC_'));
  expect(set.toSorted()).toEqual(['MALLOC_ARENA_MAX=3', 'MALLOC_MMAP_THRESHOLD_=131072', 'MALLOC_TRIM_THRESHOLD_=131072']);
});

it('it reads the program, and neither reads, writes nor starts anything else', async () => {
  await using database = await createDatabase();
  await using service = await startService({ DATABASE_URL: database.url, NODE_OPTIONS: `--import=${FORBIDDEN_ACTS}` });
  const tried = service
    .output()
    .split('\n')
    .flatMap((line) => (line.startsWith('{"acts"') ? [(JSON.parse(line) as { acts: object }).acts] : []));
  const denied = 'ERR_ACCESS_DENIED';
  // Before it gives them up it has all rights: so each act is one that can be done here.
  expect(tried).toEqual([
    {
      'read a file of the system': 'done',
      'read the program': 'done',
      'write a temporary file': 'done',
      'write into the program': 'done',
      'start a process': 'done',
      'start a thread': 'done',
      'load native code': 'ERR_DLOPEN_FAILED',
    },
    {
      'read a file of the system': denied,
      'read the program': 'done',
      'write a temporary file': denied,
      'write into the program': denied,
      'start a process': denied,
      'start a thread': denied,
      'load native code': 'ERR_DLOPEN_DISABLED',
    },
  ]);
});

it('the heap has a limit, half of a small container, unless it is set otherwise', () => {
  const gibibyte = 1_024 ** 3;
  expect([0, gibibyte, gibibyte / 2, 16 * gibibyte].map((bytes) => heapArguments({}, bytes))).toEqual(
    [512, 512, 256, 512].map((mebibytes) => [`--max-old-space-size=${mebibytes}`]),
  );
  expect(heapArguments({ NODE_OPTIONS: '--no-warnings --max-old-space-size=900' }, gibibyte)).toEqual([]);
});

it('files that the configuration names are its own too', () => {
  const read = (environment: Readonly<Record<string, string>>) =>
    permissionArguments(environment)
      .slice(OWN.length)
      .map((argument) => argument.replace('--allow-fs-read=', ''));
  expect(permissionArguments({})).toEqual(OWN);
  expect(read({ TLS_CERT_FILE: '/a.pem', TLS_KEY_FILE: 'b.pem', LOG_LEVEL: '/c' })).toEqual(['/a.pem', join(process.cwd(), 'b.pem')]);
  expect(read({ TLS_CERT_FILE: '' })).toEqual([]);
  expect(read({ DATABASE_URL: 'postgres://db/x?sslmode=verify-full&sslrootcert=/ca.pem&sslkey=/key.pem' })).toEqual([
    '/key.pem',
    '/ca.pem',
  ]);
  expect(read({ DATABASE_URL: 'no URL' })).toEqual([]);
  expect(read({ OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE: '/otel.pem' })).toEqual(['/otel.pem']);
});

it('a file outside of the program is read because a variable names it', async () => {
  await using database = await createDatabase();
  await using opened = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'messaging-permissions-'));
  opened.defer(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'not-a-certificate.pem');
  writeFileSync(file, 'not a certificate');
  const failed = startService({ DATABASE_URL: database.url, TLS_CERT_FILE: file, TLS_KEY_FILE: file });
  // OpenSSL's words: it was read.
  await expect(failed).rejects.toThrow(/PEM/);
});
