/** A database of its own for a test file, with the schema in it. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import pg from 'pg';
import { inject } from 'vitest';

const template = 'template_messaging';
/** Two copies of one template at once fail, so they are made one after the other. */
const copyLock = 5_201_314;

async function administer<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

function databaseUrl(serverUrl: string, database: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${database}`;
  return url.href;
}

/** Brings the schema up to date as `make migrate` does. */
export async function migrateDatabase(url: string): Promise<void> {
  await promisify(execFile)(process.execPath, ['src/apply-migrations.ts'], { env: { ...process.env, DATABASE_URL: url } });
}

/** Makes the database that `createDatabase` copies: a copy takes milliseconds, the migrations take seconds. */
export async function createTemplate(serverUrl: string): Promise<void> {
  await administer(serverUrl, (client) => client.query(`CREATE DATABASE ${template}`));
  await migrateDatabase(databaseUrl(serverUrl, template));
  // A single connection to a template makes every copy fail.
  await administer(serverUrl, (client) => client.query(`ALTER DATABASE ${template} ALLOW_CONNECTIONS false`));
}

export interface Database extends AsyncDisposable {
  readonly url: string;
}

/** An empty database with the current schema. Disposal drops it, connections or not. */
export async function createDatabase(): Promise<Database> {
  const serverUrl = inject('postgresUrl');
  const name = `test_${randomBytes(6).toString('hex')}`;
  await administer(serverUrl, async (client) => {
    // The lock goes with the connection.
    await client.query('SELECT pg_advisory_lock($1)', [copyLock]);
    await client.query(`CREATE DATABASE ${name} TEMPLATE ${template}`);
  });
  return {
    url: databaseUrl(serverUrl, name),
    async [Symbol.asyncDispose]() {
      await administer(serverUrl, (client) => client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`));
    },
  };
}
