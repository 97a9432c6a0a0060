/** One PostgreSQL and one Redis for a whole test run, whichever projects take part. */
import type { TestProject } from 'vitest/node';
import { startPostgres } from '../../src/dev/postgres.ts';
import { startRedis } from '../../src/dev/redis.ts';
import { createTemplate } from './database.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** A superuser's; tests take their database from `createDatabase`. */
    postgresUrl: string;
    /** null: this machine has no Redis, and what needs one is skipped. */
    redis: { readonly host: string; readonly port: number } | null;
  }
}

async function startServers() {
  await using opening = new AsyncDisposableStack();
  const postgres = opening.use(await startPostgres({ fast: true }));
  const redis = await startRedis();
  if (redis !== undefined) opening.use(redis);
  await createTemplate(postgres.url);
  return { postgresUrl: postgres.url, redis: redis === undefined ? null : { host: redis.host, port: redis.port }, opened: opening.move() };
}

interface Shared {
  users: number;
  readonly servers: ReturnType<typeof startServers>;
}

// Every project loads its own copy of this module, but all of them in one process.
const shared = globalThis as { messagingTestServers?: Shared | undefined };

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  shared.messagingTestServers ??= { users: 0, servers: startServers() };
  const entry = shared.messagingTestServers;
  entry.users += 1;
  const { postgresUrl, redis, opened } = await entry.servers;
  project.provide('postgresUrl', postgresUrl);
  project.provide('redis', redis);
  return async () => {
    entry.users -= 1;
    if (entry.users > 0) return;
    shared.messagingTestServers = undefined;
    await opened.disposeAsync();
  };
}
