/** What was measured with. */
import { readFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import pg from 'pg';
import type { Lab } from './lab.ts';

const PACKAGES = [
  ...['@connectrpc/connect', '@connectrpc/connect-node', '@grpc/grpc-js', '@bufbuild/protobuf', 'ioredis', '@mikro-orm/core', 'pg'],
  ...['bentocache', 'cacheable', '@keyv/redis'],
];

function packageVersion(name: string): string {
  return (JSON.parse(readFileSync(`node_modules/${name}/package.json`, 'utf8')) as { version: string }).version;
}

async function postgresVersion(url: string): Promise<string> {
  const sql = new pg.Client({ connectionString: url });
  await sql.connect();
  const { rows } = await sql.query<{ server_version: string }>('show server_version');
  await sql.end();
  return rows[0]?.server_version ?? '';
}

/** By name. Call it from the root of the clone. */
export async function versions({ postgresUrl, redis }: Pick<Lab, 'postgresUrl' | 'redis'>): Promise<Readonly<Record<string, string>>> {
  const redisVersion = /^redis_version:(\S+)/m.exec(await redis.info('server'))?.[1] ?? '';
  return {
    node: process.version,
    ...Object.fromEntries(PACKAGES.map((name) => [name, packageVersion(name)])),
    'redis-server': redisVersion,
    postgres: await postgresVersion(postgresUrl),
    kernel: release(),
    cpu: `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}`,
  };
}
