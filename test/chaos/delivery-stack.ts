/** Servers and workers as processes of their own over real PostgreSQL and Redis, and the simulator that they send through. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import pg from 'pg';
import { createMessagingClient, type MessagingClient } from '../../src/client/messaging-client.ts';
import { freePort } from '../../src/dev/ports.ts';
import { startRedis } from '../../src/dev/redis.ts';
import { type Simulator, startSimulator } from '../../src/dev/simulator.ts';
import { type ServiceProcess, startService } from '../support/processes.ts';
import { seededRandom, seedOf } from '../support/seeded-random.ts';
import { type OwnPostgres, startOwnPostgres } from '../support/servers.ts';

/** One process of the service, through its deaths. */
export interface Mortal {
  readonly name: string;
  /** Kills it without a chance to tidy up; resolves when another one is in its place. */
  killAndRestart(): Promise<void>;
  /** Everything that all of them have written. */
  output(): string;
  /** The one that runs now. */
  readonly running: Pick<ServiceProcess, 'pid' | 'httpPort'>;
}

export interface DeliveryStack extends AsyncDisposable {
  readonly postgres: OwnPostgres;
  readonly simulator: Simulator;
  readonly mortals: readonly Mortal[];
  /** Of each server. */
  readonly addresses: readonly string[];
  /** One per server. */
  readonly clients: readonly MessagingClient[];
  readonly sql: pg.Pool;
}

interface MortalProcess extends Mortal, AsyncDisposable {}

async function startMortal(name: string, env: Readonly<Record<string, string>>): Promise<MortalProcess> {
  let before = '';
  let running: ServiceProcess = await startService(env);
  return {
    name,
    async killAndRestart() {
      await running.kill();
      before += running.output();
      running = await startService(env);
    },
    output: () => before + running.output(),
    get running() {
      return running;
    },
    async [Symbol.asyncDispose]() {
      await running.stop();
    },
  };
}

export interface DeliveryStackOptions {
  readonly seed: number;
  readonly servers: number;
  readonly workers: number;
  /** For all of them, beside what they need. */
  readonly env?: Readonly<Record<string, string>>;
}

export async function startDeliveryStack({
  seed,
  servers: serverCount,
  workers: workerCount,
  env = {},
}: DeliveryStackOptions): Promise<DeliveryStack> {
  await using opening = new AsyncDisposableStack();
  const postgres = opening.use(await startOwnPostgres());
  const redis = await startRedis();
  if (redis !== undefined) opening.use(redis);
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const twilio = { accountSid: `AC${randomBytes(16).toString('hex')}`, authToken: randomBytes(16).toString('hex') };
  const apiKey = `SG.${randomBytes(16).toString('hex')}`;
  const webhookPort = await freePort();
  const publicUrl = `http://127.0.0.1:${webhookPort}`;
  const simulator = opening.use(
    await startSimulator({
      host: '127.0.0.1',
      port: 0,
      twilio,
      sendgrid: { apiKey, signingKey: privateKey },
      webhookUrl: publicUrl,
      random: seededRandom(seedOf(seed, 'simulator')),
    }),
  );
  const shared = {
    DATABASE_URL: postgres.url,
    ...(redis === undefined ? {} : { REDIS_HOST: redis.host, REDIS_PORT: String(redis.port), REDIS_COMMAND_TIMEOUT_MS: '1000' }),
    TWILIO_ACCOUNT_SID: twilio.accountSid,
    TWILIO_AUTH_TOKEN: twilio.authToken,
    TWILIO_API_URL: simulator.url,
    SENDGRID_API_KEY: apiKey,
    SENDGRID_API_URL: simulator.url,
    SENDGRID_WEBHOOK_KEYS: publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
    PUBLIC_URL: publicUrl,
    TWILIO_MAX_PER_SECOND: '10000',
    SENDGRID_MAX_PER_SECOND: '10000',
    PROVIDER_TIMEOUT_MS: '2000',
    DISPATCH_RETRY_BASE_MS: '200',
    DISPATCH_RETRY_MAX_MS: '2000',
    DISPATCH_MAX_ATTEMPTS: '100',
    DISPATCH_CALLBACK_WAIT_MS: '4000',
    DISPATCH_UNKNOWN_WINDOW_MS: '20000',
    DISPATCH_WORKER_LOST_MS: '1500',
    ...env,
  };
  const ports = await Promise.all(Array.from({ length: serverCount }, () => freePort()));
  const servers = ports.map((port, index) =>
    startMortal(`server ${index + 1}`, {
      ...shared,
      PROCESS_ROLE: 'server',
      GRPC_PORT: String(port),
      HTTP_PORT: index === 0 ? String(webhookPort) : '0',
    }),
  );
  const workers = Array.from({ length: workerCount }, (_, index) =>
    startMortal(`worker ${index + 1}`, { ...shared, PROCESS_ROLE: 'worker' }),
  );
  const mortals = await Promise.all([...servers, ...workers]);
  for (const mortal of mortals) opening.use(mortal);
  const addresses = ports.map((port) => `127.0.0.1:${port}`);
  const clients = addresses.map((address) => opening.use(createMessagingClient(address)));
  const sql = opening.adopt(new pg.Pool({ connectionString: postgres.url, max: 4 }), (pool) => pool.end());
  sql.on('error', () => undefined);
  const opened = opening.move();
  return { postgres, simulator, mortals, addresses, clients, sql, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}
