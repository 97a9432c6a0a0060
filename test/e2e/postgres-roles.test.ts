/** The service under the roles of deploy/postgres-roles.sql: it can do all its work, and nothing but that. */
import { readFileSync } from 'node:fs';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { MessageStatus, MessageType } from '../../gen/messaging/v1/message_pb.js';
import { startPostgres } from '../../src/dev/postgres.ts';
import { migrateDatabase } from '../support/database.ts';
import { type DeliveringService, startDelivering } from '../support/delivering-service.ts';
import { until } from '../support/until.ts';

const ROLES = readFileSync('deploy/postgres-roles.sql', 'utf8');
const REFUSED = '42501';

const opened = new AsyncDisposableStack();
let url: (role: string) => string;
let delivering: DeliveringService;
let app: pg.Client;
let admin: pg.Client;

async function connect(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  client.on('error', () => undefined);
  opened.defer(() => client.end());
  return client;
}

beforeAll(async () => {
  const postgres = opened.use(await startPostgres({ fast: true }));
  admin = await connect(postgres.url);
  await admin.query(ROLES);
  for (const role of ['messaging_owner', 'messaging_app']) await admin.query(`alter role ${role} password '${role}'`);
  url = (role) => Object.assign(new URL(postgres.url), { username: role, password: role }).href;
  await migrateDatabase(url('messaging_owner'));
  const redis = inject('redis');
  const cache =
    redis === null
      ? {}
      : { REDIS_HOST: redis.host, REDIS_PORT: String(redis.port), CACHE_KEY_PREFIX: 'roles:', REDIS_COMMAND_TIMEOUT_MS: '2000' };
  delivering = opened.use(await startDelivering({ env: { DATABASE_URL: url('messaging_app'), DATABASE_POOL_MAX: '7', ...cache } }));
  app = await connect(url('messaging_app'));
});
afterAll(() => opened.disposeAsync());

describe('under the application role', () => {
  it('a message is sent, dispatched, reported and watched, and its housekeeping runs', async () => {
    const { calls } = delivering;
    const seen: MessageStatus[] = [];
    const sent = await calls.send();
    for await (const { payload } of calls.messages.watchMessages({ includeInitialState: true })) {
      if (payload.case !== 'change' || payload.value.message?.id !== sent.id) continue;
      seen.push(payload.value.message.status);
      if (payload.value.message.status === MessageStatus.DELIVERED) break;
    }
    expect(seen.at(-1)).toBe(MessageStatus.DELIVERED);
    expect((await calls.readMessage(sent.id)).message.status).toBe(MessageStatus.DELIVERED);
    const { conversation } = await calls.conversations.updateConversation({ conversation: { id: sent.conversationId, title: 'Roles' } });
    expect(conversation?.title).toBe('Roles');
    await calls.suppressions.createSuppression({ address: '+14155552679', channelType: MessageType.SMS });
    expect((await calls.messages.listMessages({})).messages).toHaveLength(1);
    const { rows: jobs } = await app.query('select from graphile_worker.jobs where last_error is not null');
    expect(jobs).toHaveLength(0);
    await calls.conversations.deleteConversation({ id: sent.conversationId });
  });

  it('the relay leads, and removes what it has told', async () => {
    if (inject('redis') === null) return;
    await until('the outbox is empty', async () => (await app.query('select from cache_outbox')).rowCount === 0);
    const { rowCount } = await admin.query(
      "select from pg_locks join pg_stat_activity using (pid) where locktype = 'advisory' and granted and usename = 'messaging_app'",
    );
    expect(rowCount).toBeGreaterThan(0);
  });

  it('its log tells of nothing that it may not do', () => {
    expect(delivering.service.output()).not.toMatch(/permission denied|42501|must be owner/);
  });

  it('every connection of the service has the time-outs', async () => {
    const { rows } = await admin.query(
      "select distinct usename, application_name from pg_stat_activity where application_name like 'messaging-service%' order by 2",
    );
    expect(rows).toEqual([
      { usename: 'messaging_app', application_name: 'messaging-service' },
      { usename: 'messaging_app', application_name: 'messaging-service queue' },
    ]);
    const { rows: settings } = await app.query('select name, setting from pg_settings where name = any($1) order by name', [
      ['idle_in_transaction_session_timeout', 'lock_timeout', 'statement_timeout'],
    ]);
    expect(settings.map(({ setting }) => Number(setting))).toEqual([30_000, 10_000, 15_000]);
    await expect(app.query('set statement_timeout = 50; select pg_sleep(5)')).rejects.toMatchObject({ code: '57014' });
  });

  const tables = ['messages', 'conversations', 'message_events', 'cache_outbox', 'request_ids', 'graphile_worker._private_jobs'];
  it.each([
    ...tables.flatMap((table) => [
      `truncate ${table}`,
      `drop table ${table}`,
      `alter table ${table} add column mine text`,
      `alter table ${table} disable trigger all`,
    ]),
    'create table public.mine (id int)',
    'create table graphile_worker.mine (id int)',
    'create schema mine',
    'create temporary table mine (id int)',
    'create or replace function raise_version() returns trigger language plpgsql as $$ begin return new; end $$',
    'drop function raise_version() cascade',
    'create index mine on messages (id)',
    'create policy mine on graphile_worker._private_jobs using (false)',
    'create role mine',
    'alter role messaging_app superuser',
    'set role messaging_owner',
    "copy messages to program 'cat'",
    "select pg_read_file('postgresql.conf')",
  ])('this is refused: %s', async (statement) => {
    // Whoever did this by mistake would get it back: the test goes on.
    await expect(app.query(`begin; ${statement}`)).rejects.toMatchObject({ code: REFUSED });
    await app.query('rollback');
  });
});

describe('the roles', () => {
  it('may be set up again, also after the migrations', async () => {
    await admin.query(ROLES);
    await migrateDatabase(url('messaging_owner'));
    expect((await app.query('select from messages')).rowCount).toBe(0);
  });

  it('leave a database to themselves: another role may not even connect', async () => {
    await admin.query("create role stranger login password 'stranger'");
    const stranger = new pg.Client({ connectionString: url('stranger') });
    stranger.on('error', () => undefined);
    await expect(stranger.connect()).rejects.toMatchObject({ code: REFUSED });
  });

  it('let a worker begin where nobody has migrated the queue for it since', async () => {
    const worker = await delivering.startAnother({ PROCESS_ROLE: 'worker', DATABASE_URL: url('messaging_app') });
    const { message } = await delivering.calls.messages.sendMessage({
      message: { fromAddress: '+14155552671', toAddress: '+14155552672', body: 'again' },
    });
    await until(
      'it is delivered',
      async () => (await delivering.calls.readMessage(message?.id ?? '')).message.status === MessageStatus.DELIVERED,
    );
    expect(worker.output()).not.toContain('permission denied');
  });
});
