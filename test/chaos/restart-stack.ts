/** Several processes of the service on one port, over real PostgreSQL and Redis, one of which at a time is replaced. */
import pg from 'pg';
import { freePort } from '../../src/dev/ports.ts';
import { startRedis } from '../../src/dev/redis.ts';
import { type ServiceProcess, startService } from '../support/processes.ts';
import { startOwnPostgres } from '../support/servers.ts';
import type { RestartKind } from './restart-settings.ts';

export interface RestartStack extends AsyncDisposable {
  /** host:port of all of them. */
  readonly address: string;
  readonly sql: pg.Pool;
  /** Ends one of the processes and resolves when another one serves in its place. Throws when one that was asked to end did not do so in order. */
  restart(index: number, kind: RestartKind): Promise<void>;
}

export async function startRestartStack(processes: number): Promise<RestartStack> {
  await using opening = new AsyncDisposableStack();
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
  };
  const running: ServiceProcess[] = await Promise.all(Array.from({ length: processes }, () => startService(env)));
  opening.defer(async () => {
    await Promise.all(running.map((process) => process.stop()));
  });
  const sql = opening.adopt(new pg.Pool({ connectionString: postgres.url, max: 2 }), (pool) => pool.end());
  const opened = opening.move();
  return {
    address: `127.0.0.1:${port}`,
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
