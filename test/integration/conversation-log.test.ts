/** The log of conversations: what fills it, and what is left of it when it is pruned. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { isAfter, type LogPlace } from '../../src/domain/log-place.ts';
import type { ConversationLogEntry } from '../../src/domain/watch-ports.ts';
import { createDatabase } from '../support/database.ts';
import { until } from '../support/until.ts';
import { draftBetween, inboundBetween, newPair, useCases } from '../support/use-cases.ts';

const opened = new AsyncDisposableStack();
let database: Database;
let sql: pg.Client;
let url: string;

beforeAll(async () => {
  url = opened.use(await createDatabase()).url;
  database = opened.use(await openDatabase({ url, poolMax: 4, statementTimeoutMs: 60_000, connectTimeoutMs: 60_000 }));
  sql = opened.adopt(new pg.Client({ connectionString: url }), (client) => client.end());
  await sql.connect();
});
afterAll(() => opened.disposeAsync());

const log = () => database.changeLog.conversations;
/** All there is once so many are final: other tests of this server may keep transactions open for a while. */
async function entriesBehind(place: LogPlace, count: number): Promise<readonly ConversationLogEntry[]> {
  await until('all is final', async () => (await log().read(place, 1_000)).entries.length >= count, 30_000);
  return (await log().read(place, 1_000)).entries;
}
const told = (entries: readonly ConversationLogEntry[]) => entries.map(({ conversationId, deleted }) => [conversationId, deleted?.fromKey]);

describe('the log of conversations', () => {
  it('tells of every change, whatever made it', async () => {
    const cases = useCases(database);
    const pair = newPair();
    const { end } = await log().tail();
    const { message } = await cases.send(draftBetween(pair));
    const id = message.conversationId;
    await cases.receive(inboundBetween(pair));
    await cases.changeConversation.update(id, { title: 'new', metaData: undefined }, '');
    await sql.query(`update conversations set title = 'by hand' where id = $1`, [id]);
    await cases.changeConversation.delete(id, '', false);
    const entries = await entriesBehind(end, 5);
    expect(told(entries)).toEqual([...Array.from({ length: 4 }, () => [id, undefined]), [id, pair.ours]]);
    expect(entries.at(-1)?.deleted).toEqual({ id, fromKey: pair.ours, toKey: pair.theirs, channelType: 'sms' });
  });

  it('takes another id for a deletion and a new row', async () => {
    const [before, after] = [randomUUID(), randomUUID()];
    const insert = `insert into conversations (id, participant_from, participant_to, from_key, to_key, channel_type, thread)
      values ($1, 'us', 'them', 'us', 'them', 'sms', true)`;
    await sql.query(insert, [before]);
    const { end } = await log().tail();
    await sql.query('update conversations set id = $2 where id = $1', [before, after]);
    expect(told((await entriesBehind(end, 2)).slice(-2))).toEqual([
      [before, 'us'],
      [after, undefined],
    ]);
  });
});

describe('pruning the log of conversations', () => {
  const conversations = Array.from({ length: 12 }, () => randomUUID());
  const age = (days: number) => new Date(Date.now() - days * 86_400_000);
  let places: readonly LogPlace[];

  const prune = (before: Date) => database.changeLog.pruneConversationLog(before, 100);

  async function removeAll(): Promise<void> {
    await until('all is final and gone', async () => {
      await prune(age(-1));
      return (await sql.query('select 1 from conversation_log')).rowCount === 0;
    });
    const { begin, end } = await log().tail();
    expect(end).toEqual(begin);
  }

  beforeAll(async () => {
    await removeAll();
    const { end } = await log().tail();
    for (const id of conversations) {
      await sql.query(
        `insert into conversations (id, participant_from, participant_to, from_key, to_key, channel_type, thread)
        values ($1, 'us', 'them', 'us', 'them', 'sms', true)`,
        [id],
      );
    }
    const entries = await entriesBehind(end, conversations.length);
    places = entries.map(({ place }) => place);
    // One day each, the last one today.
    await sql.query(
      `update conversation_log set logged_at = now() - (11 - array_position($1::uuid[], conversation_id)::integer + 1) * interval '1 day'
      where conversation_id = any($1)`,
      [conversations],
    );
  });

  it('removes what is older, remembers up to where, and keeps the rest', async () => {
    expect(await prune(age(8.5))).toBe(3);
    const { entries, begin } = await log().read(places[2] as LogPlace, 1_000);
    expect(begin).toEqual(places[2]);
    expect(entries.map(({ conversationId }) => conversationId)).toEqual(conversations.slice(3));
    // A place from which something is missing is before the beginning.
    expect(isAfter(begin, places[1] as LogPlace)).toBe(true);
    expect(await log().has(places[2] as LogPlace)).toBe(true);
    expect(await log().has(places[1] as LogPlace)).toBe(false);
    expect(await prune(age(8.5))).toBe(0);
  });

  it('stops before the first entry that is to be kept, even if older ones follow', async () => {
    await sql.query('update conversation_log set logged_at = now() where conversation_id = $1', [conversations[4]]);
    expect(await prune(age(3.5))).toBe(1);
    expect((await log().tail()).begin).toEqual(places[3]);
  });

  it('removes as many as it may, the oldest first', async () => {
    expect(await database.changeLog.pruneConversationLog(age(-1), 2)).toBe(2);
    expect((await log().tail()).begin).toEqual(places[5]);
    expect(await database.changeLog.pruneConversationLog(age(-1), 100)).toBe(6);
  });

  it('leaves what is not final', async () => {
    const open = new pg.Client({ connectionString: url });
    await open.connect();
    await open.query('begin');
    await open.query('select pg_current_xact_id()');
    const id = randomUUID();
    await sql.query(
      `insert into conversations (id, participant_from, participant_to, from_key, to_key, channel_type, thread)
      values ($1, 'us', 'them', 'us', 'them', 'sms', true)`,
      [id],
    );
    await prune(age(-1));
    const left = await sql.query('select 1 from conversation_log where conversation_id = $1', [id]);
    expect(left.rowCount).toBe(1);
    await open.query('rollback');
    await open.end();
    await removeAll();
  });

  it('is done once by processes that do it together, however much there is', async () => {
    await sql.query(
      `insert into conversation_log (conversation_id, deleted, logged_at)
      select gen_random_uuid(), false, now() - interval '9 days' from generate_series(1, 12000)`,
    );
    await until('it is final', async () => (await log().read((await log().tail()).begin, 1)).entries.length === 1);
    const pruneAll = async () => {
      while ((await database.changeLog.pruneConversationLog(age(8), 1_000)) === 1_000);
    };
    await Promise.all([1, 2, 3].map(pruneAll));
    expect((await sql.query('select 1 from conversation_log')).rowCount).toBe(0);
    const { begin, end } = await log().tail();
    expect(end).toEqual(begin);
  });
});
