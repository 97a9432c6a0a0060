/** Transactions by hand that write into the logs that watchers read, as the service does: the conversation's row lock first. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';

/** Conversations with a message each, that events can be about. */
export interface LogWorld extends AsyncDisposable {
  readonly conversationIds: readonly string[];
  /** A connection of its own, until `endWriters`. */
  writer(): Promise<LogWriter>;
  /** Rolls back what they have left open. */
  endWriters(): Promise<void>;
}

export interface LogWriter {
  readonly client: pg.Client;
  /** With a transaction id from the start. */
  begin(): Promise<void>;
  /** Locks the conversation, then adds the next event. Returns its sequence number. */
  write(conversationId: string): Promise<number>;
  commit(): Promise<void>;
  rollback(): Promise<void>;
  /** begin, write, commit. */
  writeAlone(conversationId: string): Promise<number>;
}

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  // A database that is dropped first ends it.
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

const LOCK = 'update conversations set last_sequence = last_sequence + 1 where id = $1 returning last_sequence';
const ADD = `
  insert into message_events (id, message_id, conversation_id, sequence, type, status_after)
  select $1, id, conversation_id, $3, 'created', 'pending' from messages where conversation_id = $2`;

function writerOf(client: pg.Client): LogWriter {
  const writer: LogWriter = {
    client,
    async begin() {
      await client.query('begin');
      await client.query('select pg_current_xact_id()');
    },
    async write(conversationId) {
      const { rows } = await client.query<{ last_sequence: number }>(LOCK, [conversationId]);
      const sequence = rows[0]?.last_sequence ?? 0;
      await client.query(ADD, [randomUUID(), conversationId, sequence]);
      return sequence;
    },
    async commit() {
      await client.query('commit');
    },
    async rollback() {
      await client.query('rollback');
    },
    async writeAlone(conversationId) {
      await writer.begin();
      const sequence = await writer.write(conversationId);
      await writer.commit();
      return sequence;
    },
  };
  return writer;
}

export async function createLogWorld(url: string, conversations: number): Promise<LogWorld> {
  const client = await connect(url);
  let writers: pg.Client[] = [];
  const endWriters = async (): Promise<void> => {
    const ending = writers;
    writers = [];
    await Promise.all(ending.map((writer) => writer.end()));
  };
  const conversationIds = Array.from({ length: conversations }, () => randomUUID());
  await client.query(
    `insert into conversations (id, participant_from, participant_to, from_key, to_key, channel_type, thread)
    select id, 'us', 'them', 'us', 'them', 'sms', true from unnest($1::uuid[]) id`,
    [conversationIds],
  );
  await client.query(
    `insert into messages (id, conversation_id, direction, status, message_type, from_address, to_address, sequence)
    select gen_random_uuid(), id, 'outbound', 'pending', 'sms', 'us', 'them', 1 from unnest($1::uuid[]) id`,
    [conversationIds],
  );
  return {
    conversationIds,
    async writer() {
      const own = await connect(url);
      writers.push(own);
      return writerOf(own);
    },
    endWriters,
    async [Symbol.asyncDispose]() {
      await Promise.all([client.end(), endWriters()]);
    },
  };
}

/** How many sessions wait for a lock. */
export async function lockWaits(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ count: number }>(
    `select count(*)::integer as count from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`,
  );
  return rows[0]?.count ?? 0;
}
