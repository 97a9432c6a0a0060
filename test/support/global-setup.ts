/**
 * One PostgreSQL for a whole test run, whichever projects take part, and one Redis for each of them: the same test file may run in two
 * projects at once, with the same prefix of its keys.
 */
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

interface Shared {
  users: number;
  readonly postgres: ReturnType<typeof startTemplatePostgres>;
}

// Every project loads its own copy of this module, but all of them in one process.
const shared = globalThis as { messagingTestServers?: Shared | undefined };

async function startTemplatePostgres() {
  await using opening = new AsyncDisposableStack();
  const { url } = opening.use(await startPostgres({ fast: true }));
  await createTemplate(url);
  return { url, opened: opening.move() };
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  shared.messagingTestServers ??= { users: 0, postgres: startTemplatePostgres() };
  const entry = shared.messagingTestServers;
  entry.users += 1;
  const [{ url, opened }, redis] = await Promise.all([entry.postgres, startRedis()]);
  project.provide('postgresUrl', url);
  project.provide('redis', redis === undefined ? null : { host: redis.host, port: redis.port });
  return async () => {
    await redis?.[Symbol.asyncDispose]();
    entry.users -= 1;
    if (entry.users > 0) return;
    shared.messagingTestServers = undefined;
    await opened.disposeAsync();
  };
}
