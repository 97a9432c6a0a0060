import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { migrate } from '../../src/db/orm.ts';
import { deadLetterReasons, failureReasons } from '../../src/domain/message.ts';
import { createDatabase } from '../support/database.ts';

const opened = new AsyncDisposableStack();
afterAll(() => opened.disposeAsync());

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return client;
}

/** A database without the schema. */
async function createBareDatabase(): Promise<string> {
  const name = `test_${randomBytes(6).toString('hex')}`;
  const server = await connect(inject('postgresUrl'));
  await server.query(`create database ${name}`);
  opened.defer(async () => {
    await server.query(`drop database ${name} with (force)`);
    await server.end();
  });
  const url = new URL(inject('postgresUrl'));
  url.pathname = `/${name}`;
  return url.href;
}

const MIGRATIONS = [
  ...['2026-11-22-initial', '2026-11-25-cache-outbox', '2026-11-28-delivery', '2026-11-28-suppressions'],
  ...['2026-11-28-webhooks', '2026-11-28-change-log', '2026-11-28-dead-letters'],
];
const ALL_APPLIED = MIGRATIONS.map((name) => `applied ${name}\n`).join('');

/** Output of one process that migrates. */
async function migrateInProcess(url: string): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, ['src/apply-migrations.ts'], {
    env: { ...process.env, DATABASE_URL: url },
  });
  return stdout;
}

/** Everything that PostgreSQL knows of the schema, as one text. */
async function schemaOf(url: string): Promise<string> {
  const client = await connect(url);
  try {
    const { rows } = await client.query<{ line: string }>(`
      select format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default) as line
        from information_schema.columns where table_schema = 'public'
      union all select indexdef from pg_indexes where schemaname = 'public'
      union all select tgrelid::regclass || ' ' || tgname from pg_trigger where not tgisinternal
      union all select conrelid::regclass || ' ' || pg_get_constraintdef(oid) from pg_constraint where connamespace = 'public'::regnamespace
      order by line`);
    // The migrator's own notes are there before the first migration.
    return rows.flatMap(({ line }) => (line.includes('mikro_orm_migrations') ? [] : line)).join('\n');
  } finally {
    await client.end();
  }
}

describe('migrations', () => {
  it('are applied once by processes that start together, and are up to date ever after', async () => {
    const url = await createBareDatabase();
    const outputs = await Promise.all([migrateInProcess(url), migrateInProcess(url), migrateInProcess(url)]);
    expect(outputs.toSorted()).toEqual(['The schema is up to date.\n', 'The schema is up to date.\n', ALL_APPLIED]);
    const schema = await schemaOf(url);
    expect(schema).toContain('messages.body text NO');
    const options = { url, poolMax: 1, statementTimeoutMs: 60_000, connectTimeoutMs: 60_000 };
    expect(await migrate(options)).toEqual([]);
    expect(await schemaOf(url)).toBe(schema);
  });

  it('make the schema that tests run on', async () => {
    const url = await createBareDatabase();
    await migrateInProcess(url);
    const { url: copied } = opened.use(await createDatabase());
    expect(await schemaOf(copied)).toBe(await schemaOf(url));
  });

  it('that fail leave the database as it was, and can be tried again', async () => {
    const url = await createBareDatabase();
    const client = await connect(url);
    // A table of the first migration is in its way.
    await client.query('create table request_ids (unrelated text)');
    const before = await schemaOf(url);
    await expect(migrateInProcess(url)).rejects.toThrow('already exists');
    expect(await schemaOf(url)).toBe(before);
    await client.query('drop table request_ids');
    await client.end();
    expect(await migrateInProcess(url)).toBe(ALL_APPLIED);
  });
});

describe('the schema', () => {
  let client: pg.Client;

  beforeAll(async () => {
    const { url } = opened.use(await createDatabase());
    client = await connect(url);
    opened.defer(() => client.end());
  });

  const insertConversation = async (
    columns: { status?: string; thread?: boolean; to?: string; channel?: string } = {},
  ): Promise<string> => {
    const { status = 'active', thread = false, to = '+12125552672', channel = 'sms' } = columns;
    const { rows } = await client.query<{ id: string }>(
      `insert into conversations (id, participant_from, participant_to, from_key, to_key, channel_type, status, thread)
      values (gen_random_uuid(), 'us', $1, 'us', $1, $2, $3, $4) returning id`,
      [to, channel, status, thread],
    );
    return rows[0]?.id ?? '';
  };
  const insertMessage = async (
    conversationId: string,
    columns: { provider?: string; providerMessageId?: string } = {},
  ): Promise<string> => {
    const { rows } = await client.query<{ id: string }>(
      `insert into messages (id, conversation_id, direction, status, message_type, from_address, to_address, sequence, provider, provider_message_id)
      values (gen_random_uuid(), $1, 'outbound', 'pending', 'sms', 'us', 'them', 1, $2, $3) returning id`,
      [conversationId, columns.provider, columns.providerMessageId],
    );
    return rows[0]?.id ?? '';
  };
  const insertEvent = (messageId: string, conversationId: string, sequence: number, providerEventId: string | null = null) =>
    client.query(
      `insert into message_events (id, message_id, conversation_id, sequence, type, status_after, provider, provider_event_id)
      values (gen_random_uuid(), $1, $2, $3, 'created', 'pending', 'twilio', $4)`,
      [messageId, conversationId, sequence, providerEventId],
    );
  const violation = (constraint: string) => expect.objectContaining({ code: '23505', constraint });

  it.each(['messages', 'conversations'])('counts every update of %s, hand-typed ones too, and never back', async (table) => {
    const conversationId = await insertConversation({ thread: true });
    const id = table === 'messages' ? await insertMessage(conversationId) : conversationId;
    const update = async (assignment: string) => {
      const { rows } = await client.query<{ version: number; updated_at: Date }>(
        `update ${table} set ${assignment} where id = $1 returning version, updated_at`,
        [id],
      );
      return rows[0];
    };
    const first = await update(`meta_data = '{"by": "hand"}'`);
    expect(first?.version).toBe(2);
    expect((await update('meta_data = meta_data'))?.version).toBe(3);
    const third = await update(`version = 1, updated_at = '2000-01-01'`);
    expect(third?.version).toBe(4);
    expect(third?.updated_at.getTime()).toBeGreaterThanOrEqual(first?.updated_at.getTime() ?? Number.NaN);
  });

  it('allows one open conversation of two addresses, and any number of closed ones and threads', async () => {
    const to = '+12125550001';
    const id = await insertConversation({ to });
    for (const status of ['active', 'archived']) {
      await expect(insertConversation({ to, status })).rejects.toEqual(violation('conversations_open'));
    }
    const closed = await insertConversation({ to, status: 'closed' });
    await insertConversation({ to, status: 'closed' });
    await insertConversation({ to, thread: true });
    await insertConversation({ to, thread: true });
    await insertConversation({ to, channel: 'email' });
    const reopen = client.query(`update conversations set status = 'active' where id = $1`, [closed]);
    await expect(reopen).rejects.toEqual(violation('conversations_open'));
    await client.query(`update conversations set status = 'closed' where id = $1`, [id]);
    await client.query(`update conversations set status = 'active' where id = $1`, [closed]);
  });

  it('stores an id of a provider once, and the same id of another', async () => {
    const conversationId = await insertConversation({ thread: true });
    const messageId = await insertMessage(conversationId, { provider: 'twilio', providerMessageId: 'SM1' });
    await insertMessage(conversationId, { provider: 'sendgrid', providerMessageId: 'SM1' });
    const again = insertMessage(conversationId, { provider: 'twilio', providerMessageId: 'SM1' });
    await expect(again).rejects.toEqual(violation('messages_by_provider_id'));
    await insertEvent(messageId, conversationId, 1, 'EV1');
    await expect(insertEvent(messageId, conversationId, 2, 'EV1')).rejects.toEqual(violation('message_events_by_provider_id'));
    await expect(insertEvent(messageId, conversationId, 1)).rejects.toEqual(violation('message_events_by_sequence'));
  });

  it('takes for dead letters what the domain takes for them', async () => {
    const conversationId = await insertConversation({ thread: true });
    for (const reason of failureReasons) {
      const id = await insertMessage(conversationId);
      await client.query(`update messages set status = 'failed', failure = $2 where id = $1`, [id, { reason }]);
    }
    const { rows } = await client.query<{ reason: string }>('select reason from dead_letters where conversation_id = $1', [conversationId]);
    expect(rows.map(({ reason }) => reason).toSorted()).toEqual(deadLetterReasons.toSorted());
  });

  it('deletes messages and their history with their conversation', async () => {
    const conversationId = await insertConversation({ thread: true });
    const messageId = await insertMessage(conversationId);
    await insertEvent(messageId, conversationId, 1);
    await client.query('delete from conversations where id = $1', [conversationId]);
    const left = await client.query(
      'select id from messages where conversation_id = $1 union all select id from message_events where conversation_id = $1',
      [conversationId],
    );
    expect(left.rowCount).toBe(0);
  });
});
