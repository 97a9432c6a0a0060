/** Several processes of the service on one port, over real PostgreSQL and Redis, one of which at a time is replaced. */
import pg from 'pg';
import type { MessagingClientOptions } from '../../src/client/messaging-client.ts';
import { freePort } from '../../src/dev/ports.ts';
import { startRedis } from '../../src/dev/redis.ts';
import { createTestAuthority } from '../support/certificate-files.ts';
import { type ServiceProcess, startService } from '../support/processes.ts';
import { startOwnPostgres } from '../support/servers.ts';
import type { RestartKind, RestartSettings } from './restart-settings.ts';

export interface RestartStack extends AsyncDisposable {
  /** host:port of all of them. */
  readonly address: string;
  /** What clients need to be let in. */
  readonly access: MessagingClientOptions;
  readonly sql: pg.Pool;
  /** Ends one of the processes and resolves when another one serves in its place. Throws when one that was asked to end did not do so in order. */
  restart(index: number, kind: RestartKind): Promise<void>;
}

async function createAccess(opening: AsyncDisposableStack) {
  const authority = opening.use(await createTestAuthority());
  const { cert, key } = await authority.issue({ cn: 'shop' });
  return {
    env: { ...authority.env, AUTH_MODE: 'on', AUTH_CERT_ROLES: 'shop=caller' },
    access: { tls: { ca: Buffer.from(authority.ca), cert: Buffer.from(cert), key: Buffer.from(key) } },
  };
}

export async function startRestartStack({ processes, tls }: RestartSettings): Promise<RestartStack> {
  await using opening = new AsyncDisposableStack();
  const { env: identity, access } = tls ? await createAccess(opening) : { env: {}, access: {} };
  const postgres = opening.use(await startOwnPostgres());
  const redis = await startRedis();
  if (redis !== undefined) opening.use(redis);
  const port = await freePort();
  const env = {
    DATABASE_URL: postgres.url,
    ...(redis === undefined ? {} : { REDIS_HOST: redis.host, REDIS_PORT: String(redis.port), REDIS_COMMAND_TIMEOUT_MS: '1000' }),
    GRPC_PORT: String(port),
    GRPC_REUSE_PORT: 'true',
    DATABASE_POOL_MAX: '5',
    ...identity,
  };
  const running: ServiceProcess[] = await Promise.all(Array.from({ length: processes }, () => startService(env)));
  opening.defer(async () => {
    await Promise.all(running.map((process) => process.stop()));
  });
  const sql = opening.adopt(new pg.Pool({ connectionString: postgres.url, max: 2 }), (pool) => pool.end());
  const opened = opening.move();
  return {
    // Certificates name hosts; clients send no address as one.
    address: `${tls ? 'localhost' : '127.0.0.1'}:${port}`,
    access,
    sql,
    async restart(index, kind) {
      const process = running[index];
      if (process === undefined) throw new Error(`there is no process ${index}`);
      if (kind === 'SIGKILL') await process.kill();
      else {
        const code = await process.stop();
        if (code !== 0) throw new Error(`a process ended with ${code} after SIGTERM:\n${process.output().slice(-2_000)}`);
      }
      running[index] = await startService(env);
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}
