/** `make run`: embedded PostgreSQL, Redis and the service as it runs in production, in this order; stopped in the reverse order. */
import { randomBytes } from 'node:crypto';
import { appendFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { ConfigError, readConfig } from '../config.ts';
import { developmentIdentity, ensureCertificates } from './certs-folder.ts';
import { dataFolder, repositoryFolder } from './data-folder.ts';
import { freePort, isPortFree } from './ports.ts';
import { startPostgres } from './postgres.ts';
import { startRedis } from './redis.ts';
import { findRun, takeRunLock } from './run-lock.ts';
import { startProviders } from './run-providers.ts';
import { printWelcome } from './run-welcome.ts';
import { killAllSupervised, supervise } from './supervised-process.ts';

const readyTimeoutMs = 60_000;
const hardStopTimeoutMs = 3_000;
/** As docker-compose.yml and any Redis that serves as a cache. */
const redisMemory = ['--maxmemory', '256mb', '--maxmemory-policy', 'allkeys-lfu'];

/** A reason to end that is told without a stack. */
class RunError extends Error {
  readonly exitCode: number;
  constructor(message: string, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (stopping.signal.aborted) {
      killAllSupervised();
      process.exitCode = 130;
      setTimeout(() => process.exit(), hardStopTimeoutMs).unref();
      return;
    }
    console.log('\nStopping; once more to stop at once.');
    stopping.abort();
  });
}
const stopped = new Promise<'stopped'>((resolve) => stopping.signal.addEventListener('abort', () => resolve('stopped')));

/** A port the user chose must be free; a default one gives way. */
async function choosePort(variable: 'GRPC_PORT' | 'HTTP_PORT', host: string, defaultPort: number): Promise<number> {
  const chosen = process.env[variable] ?? '';
  if (chosen === '0') return freePort(host);
  const port = chosen === '' ? defaultPort : Number(chosen);
  if (await isPortFree(port, host)) return port;
  if (chosen !== '') throw new RunError(`Port ${port} (${variable}) is in use.`);
  const free = await freePort(host);
  console.log(`Port ${port} is in use; taking ${free} instead (${variable} chooses one).`);
  return free;
}

async function isReady(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    await response.body?.cancel();
    return response.status === 200;
  } catch {
    return false;
  }
}

/** Throws when that takes too long. Once given up it returns all the same, for nobody listens any more. */
async function untilReady(url: string, givenUp: AbortSignal): Promise<'ready'> {
  const givesUpAt = Date.now() + readyTimeoutMs;
  while (!givenUp.aborted && !(await isReady(url))) {
    if (Date.now() > givesUpAt) throw new RunError(`The service did not become ready within ${readyTimeoutMs / 1_000} s.`);
    await wait(50);
  }
  return 'ready';
}

/** host:port as a client of this machine writes it. */
const reachable = (host: string, port: number) =>
  `${host === '0.0.0.0' || host === '::' ? 'localhost' : host.includes(':') ? `[${host}]` : host}:${port}`;

/** Starts what the environment does not name, and enters it there. `ended` resolves when the service cannot go on for lack of it. */
async function startServers(env: NodeJS.ProcessEnv, opened: AsyncDisposableStack) {
  const ended = Promise.withResolvers<RunError>();
  if (!env['DATABASE_URL']) {
    const folder = dataFolder();
    const logFile = join(folder, 'postgres.log');
    rmSync(logFile, { force: true });
    const log = (text: string) => appendFileSync(logFile, text);
    const postgres = opened.use(await startPostgres({ dataDir: join(folder, 'postgres'), log }));
    env['DATABASE_URL'] = postgres.url;
    void postgres.exited.then((code) => ended.resolve(new RunError(`PostgreSQL ended with code ${code}; see ${logFile}.`)));
  }
  if (!env['REDIS_HOST'] && !stopping.signal.aborted) {
    const redis = await startRedis({ dataDir: join(dataFolder(), 'redis'), args: redisMemory });
    if (redis === undefined) console.log('The cache is off: there is no redis-server here, and REDIS_HOST is not set.');
    else {
      opened.use(redis);
      Object.assign(env, { REDIS_HOST: redis.host, REDIS_PORT: String(redis.port), REDIS_PASSWORD: '', REDIS_TLS: 'false' });
      void redis.exited.then(() => stopping.signal.aborted || console.log('Redis ended; the service goes on without a cache.'));
    }
  }
  return { ended: ended.promise };
}

/** What another worker needs to know to work beside this service. */
function settingsOf(env: NodeJS.ProcessEnv): Readonly<Record<string, string>> {
  const shared = ['DATABASE_URL', 'REDIS_HOST', 'REDIS_PORT', 'REDIS_PASSWORD', 'REDIS_TLS', 'PUBLIC_URL'];
  const isShared = (name: string): boolean => shared.includes(name) || /^(TWILIO|SENDGRID|DISPATCH|PROVIDER|CACHE)_/.test(name);
  return Object.fromEntries(Object.entries(env).flatMap(([name, value]) => (isShared(name) && value !== undefined ? [[name, value]] : [])));
}

/**
 * Enters who may call into `env`: with TLS=1 whoever has one of this clone's certificates, otherwise everybody, unless the environment
 * says it. Returns true for the former.
 */
async function enterIdentity(env: NodeJS.ProcessEnv): Promise<boolean> {
  if (env['TLS'] === '1') {
    await ensureCertificates(new Date());
    Object.assign(env, developmentIdentity());
    return true;
  }
  const says = ['AUTH_MODE', 'TLS_CLIENT_CA_FILE', 'AUTH_JWKS_URL', 'AUTH_JWKS_FILE'].some((name) => env[name]);
  if (!says) env['AUTH_MODE'] = 'off';
  return false;
}

/** Resolves when it was told to stop; throws when it had to. */
async function run(): Promise<void> {
  using lock = await takeRunLock();
  if (lock === undefined) {
    const other = await findRun();
    const where = other?.address === undefined ? 'is starting' : `serves gRPC on ${other.address.grpc}`;
    throw new RunError(`\`make run\` runs already: process ${other?.pid ?? 'unknown'} ${where}.`);
  }
  const env: NodeJS.ProcessEnv = { ...process.env };
  const certs = await enterIdentity(env);
  // Tells everything that is wrong before any server starts.
  const config = readConfig({ ...env, DATABASE_URL: env['DATABASE_URL'] || 'postgresql://embedded' });
  const grpcPort = await choosePort('GRPC_PORT', config.grpc.host, config.grpc.port);
  const httpPort = await choosePort('HTTP_PORT', config.http.host, config.http.port);

  // Of this run alone: the port may be reached from elsewhere.
  env['STATUS_TOKEN'] ||= randomBytes(12).toString('hex');
  await using opened = new AsyncDisposableStack();
  const servers = await startServers(env, opened);
  if (stopping.signal.aborted) return;
  const http = reachable(config.http.host, httpPort);
  const simulator = await startProviders(env, `http://${http}`);
  if (simulator !== undefined) opened.use(simulator);
  const service = await supervise({
    command: process.execPath,
    args: [join(repositoryFolder, 'src/start.ts')],
    stopSignal: 'SIGTERM',
    env: { DATABASE_MIGRATE_ON_START: 'true', ...env, GRPC_PORT: String(grpcPort), HTTP_PORT: String(httpPort) },
  });
  opened.defer(async () => void (await service.stop()));
  const serviceEnded = service.exited.then(
    (code) => new RunError(`The service ended by itself with code ${code}; see its log above.`, code || 1),
  );

  const grpc = reachable(config.grpc.host, grpcPort);
  const ends = [stopped, serviceEnded, servers.ended] as const;
  const givenUp = new AbortController();
  opened.defer(() => givenUp.abort());
  let outcome = await Promise.race([...ends, untilReady(`http://${http}/readyz`, givenUp.signal)]);
  if (outcome === 'ready') {
    const address = { grpc, http, certs, ...(simulator === undefined ? {} : { simulator: simulator.url }) };
    lock.publish(address, settingsOf(env));
    printWelcome({ ...address, tls: config.grpc.tls !== undefined, statusToken: env['STATUS_TOKEN'] });
    outcome = await Promise.race(ends);
  }
  if (outcome instanceof RunError) {
    console.error(`${outcome.message} Stopping.`);
    stopping.abort();
    throw outcome;
  }
}

process.chdir(repositoryFolder);
try {
  await run();
} catch (error) {
  if (error instanceof RunError) process.exitCode = error.exitCode;
  else if (!stopping.signal.aborted) process.exitCode = 1;
  // Ctrl-C reaches what is being started too, and makes that fail.
  if (!stopping.signal.aborted) console.error(error instanceof RunError || error instanceof ConfigError ? error.message : error);
}
