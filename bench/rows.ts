/** The rows that every contender reads: SMS of about 560 bytes as protobuf, written by SQL so that a million of them take no long time. */
import pg from 'pg';
import { migrate } from '../src/migrate.ts';

export const MESSAGES_PER_CONVERSATION = 10;

const idOf = (head: string, number: number): string => `${head}-7000-8000-${number.toString(16).padStart(12, '0')}`;
export const messageId = (number: number): string => idOf('0193a000-0000', number);
export const conversationId = (number: number): string => idOf('0193b000-0000', number);

const sqlId = (head: string, number: string): string => `('${head}-7000-8000-' || lpad(to_hex(${number}), 12, '0'))::uuid`;

const conversations = `
  insert into conversations (id, participant_from, participant_to, from_key, to_key, channel_type, title, message_count, last_sequence)
  select ${sqlId('0193b000-0000', 'n')}, '+14155552671', '+1212' || lpad(n::text, 7, '0'), '+14155552671', '+1212' || lpad(n::text, 7, '0'),
    'sms', 'Reservations ' || n, ${MESSAGES_PER_CONVERSATION}, ${MESSAGES_PER_CONVERSATION}
  from generate_series($1::integer, $2::integer) n`;

const messages = `
  insert into messages (id, conversation_id, provider, provider_message_id, direction, status, message_type, from_address, to_address, body,
    segmentation, meta_data, created_by, sequence, attempt_count, sent_at, delivered_at)
  select ${sqlId('0193a000-0000', 'n')}, ${sqlId('0193b000-0000', `n / ${MESSAGES_PER_CONVERSATION}`)},
    'twilio', 'SM' || md5(n::text), 'outbound', 'delivered', 'sms', '+14155552671', '+1212' || lpad((n / ${MESSAGES_PER_CONVERSATION})::text, 7, '0'),
    'Good evening! Your table for two at the Harbour Kitchen is ready from half past seven. Your reservation number is ' || lpad(n::text, 8, '0')
      || '. Answer with YES to confirm, or with NO if your plans have changed. See you soon!',
    '{"encoding": "gsm7", "segmentCount": 2, "nonGsmCharacters": []}',
    jsonb_build_object('campaign', 'autumn', 'reservation', 'R-' || n, 'template', 'table-ready'),
    'reservations', n % ${MESSAGES_PER_CONVERSATION} + 1, 1, now(), now()
  from generate_series($1::integer, $2::integer) n`;

const ROWS_AT_ONCE = 50_000;

/** Adds the messages numbered `from` to `to - 1`, and their conversations. */
export async function insertMessages(sql: pg.ClientBase, from: number, to: number): Promise<void> {
  // Without triggers: what the cache shall not learn of need not go through its outbox.
  await sql.query('set session_replication_role = replica');
  for (let first = from; first < to; first += ROWS_AT_ONCE) {
    const last = Math.min(to, first + ROWS_AT_ONCE) - 1;
    const range = [Math.ceil(first / MESSAGES_PER_CONVERSATION), Math.floor(last / MESSAGES_PER_CONVERSATION)];
    await sql.query(conversations, range);
    await sql.query(messages, [first, last]);
  }
  await sql.query('set session_replication_role = origin');
  await sql.query('vacuum (analyze) messages, conversations');
}

async function withClient(url: string, work: (sql: pg.Client) => Promise<void>): Promise<void> {
  const sql = new pg.Client({ connectionString: url });
  await sql.connect();
  try {
    await work(sql);
  } finally {
    await sql.end();
  }
}

export const databaseUrl = (serverUrl: string, name: string): string => Object.assign(new URL(serverUrl), { pathname: `/${name}` }).href;

/** Brings the server's own database to `count` messages, and copies it under each of the names. */
export async function createDatabases(serverUrl: string, count: number, copies: readonly string[]): Promise<void> {
  await migrate({ url: serverUrl, poolMax: 2, statementTimeoutMs: 60_000, connectTimeoutMs: 10_000 });
  await withClient(serverUrl, (sql) => insertMessages(sql, 0, count));
  await withClient(databaseUrl(serverUrl, 'postgres'), async (sql) => {
    for (const name of copies) await sql.query(`create database ${name} template ${new URL(serverUrl).pathname.slice(1)}`);
  });
}
