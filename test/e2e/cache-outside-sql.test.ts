/** SQL that somebody types in psql: every process shows what it did. */
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { type CachedService, patiently, startCachedService } from '../support/cached-service.ts';
import { type Calls, callsTo, failureOf } from '../support/calls.ts';
import { startService } from '../support/processes.ts';

const PREFIX = 'outside-sql:';

describe.skipIf(inject('redis') === null)('what is typed in psql shows through every process:', () => {
  const opened = new AsyncDisposableStack();
  let one: CachedService;
  let psql: pg.Client;
  let processes: readonly Calls[];

  beforeAll(async () => {
    one = opened.use(await startCachedService(PREFIX));
    const redis = inject('redis');
    const other = opened.use(
      await startService({
        DATABASE_URL: one.proxy.url,
        REDIS_HOST: redis?.host ?? '',
        REDIS_PORT: String(redis?.port),
        CACHE_KEY_PREFIX: PREFIX,
        REDIS_COMMAND_TIMEOUT_MS: '10000',
      }),
    );
    await vi.waitFor(() => expect(other.output()).toContain('cache is trusted'), patiently);
    processes = [one.calls, callsTo(other)];
    psql = opened.adopt(new pg.Client({ connectionString: one.proxy.url }), (client) => client.end());
    await psql.connect();
  });
  afterAll(() => opened.disposeAsync());

  let phone = 6_000;
  /** A message, and its conversation, that both processes answer from the cache. */
  async function sendCached(body = 'before') {
    phone += 1;
    const message = await one.calls.send({ toAddress: `+1415555${phone}`, body });
    for (const calls of processes) {
      await expect.poll(async () => (await calls.readMessage(message.id)).source, patiently).toBe('hit');
      await expect.poll(async () => (await calls.readConversation(message.conversationId)).source, patiently).toBe('hit');
    }
    return message;
  }

  const everyProcess = async <T>(read: (calls: Calls) => Promise<T>, toBe: T): Promise<void> => {
    for (const calls of processes) await expect.poll(() => read(calls), patiently).toBe(toBe);
  };
  const codeOf = async (read: Promise<unknown>): Promise<string> => (await failureOf(read)).code;

  it('an UPDATE of a message', async () => {
    const { id } = await sendCached();
    await psql.query(`update messages set body = 'typed' where id = $1`, [id]);
    await everyProcess(async (calls) => (await calls.readMessage(id)).message.body, 'typed');
  });

  it('an UPDATE of very many conversations at once', async () => {
    const sent = [await sendCached(), await sendCached(), await sendCached()];
    await psql.query(`update conversations set title = 'typed'`);
    for (const { conversationId } of sent)
      await everyProcess(async (calls) => (await calls.readConversation(conversationId)).conversation.title, 'typed');
  });

  it('a transaction that takes its time, once it is committed', async () => {
    const { id } = await sendCached();
    await psql.query('begin');
    await psql.query(`update messages set body = 'typed' where id = $1`, [id]);
    // Committed later, and relayed before what is still open.
    const { id: later } = await sendCached();
    for (const calls of processes) expect((await calls.readMessage(id)).message.body).toBe('before');
    await psql.query('commit');
    await everyProcess(async (calls) => (await calls.readMessage(id)).message.body, 'typed');
    await everyProcess(async (calls) => (await calls.readMessage(later)).message.body, 'before');
  });

  it('a rolled back UPDATE, which shows nowhere', async () => {
    const { id } = await sendCached();
    await psql.query('begin');
    await psql.query(`update messages set body = 'typed' where id = $1`, [id]);
    await psql.query('rollback');
    // Whatever came of it would be told before this.
    const { id: marker } = await sendCached();
    await psql.query(`update messages set body = 'marker' where id = $1`, [marker]);
    await everyProcess(async (calls) => (await calls.readMessage(marker)).message.body, 'marker');
    for (const calls of processes) expect((await calls.readMessage(id)).message.body).toBe('before');
  });

  it('a DELETE of a conversation, and of its messages with it', async () => {
    const { id, conversationId } = await sendCached();
    await psql.query('delete from conversations where id = $1', [conversationId]);
    await everyProcess((calls) => codeOf(calls.readConversation(conversationId)), 'NotFound');
    await everyProcess((calls) => codeOf(calls.readMessage(id)), 'NotFound');
  });

  it('an INSERT of a row that was known not to exist', async () => {
    const { id, conversationId } = await sendCached();
    await psql.query('create temporary table kept as select * from messages where id = $1', [id]);
    await psql.query('delete from messages where id = $1', [id]);
    await everyProcess((calls) => codeOf(calls.readMessage(id)), 'NotFound');
    await expect.poll(() => one.redis.get(one.keyOf('message', id)), patiently).toMatch(/^N:/);
    await psql.query(
      `insert into messages (id, conversation_id, direction, status, message_type, from_address, to_address, body, sequence)
      select id, conversation_id, direction, status, message_type, from_address, to_address, 'typed', sequence from kept`,
    );
    await everyProcess(async (calls) => (await calls.readMessage(id)).message.body, 'typed');
    expect((await one.calls.readConversation(conversationId)).conversation.id).toBe(conversationId);
  });

  it('a TRUNCATE', async () => {
    const sent = [await sendCached(), await sendCached()];
    await psql.query('truncate messages cascade');
    for (const { id } of sent) await everyProcess((calls) => codeOf(calls.readMessage(id)), 'NotFound');
    for (const { conversationId } of sent) {
      for (const calls of processes) expect((await calls.readConversation(conversationId)).conversation.id).toBe(conversationId);
    }
    const { id } = await sendCached('after');
    await everyProcess(async (calls) => (await calls.readMessage(id)).message.body, 'after');
  });
});
