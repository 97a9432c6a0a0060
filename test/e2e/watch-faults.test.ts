/** Watchers when something is wrong: callers who do not read, a server that stops, a database that is away, and very many of them. */
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { WatchMessagesResponse } from '../../gen/messaging/v1/message_service_pb.js';
import { startTestApp } from '../support/apps.ts';
import { type Calls, callsTo } from '../support/calls.ts';
import { createDatabase } from '../support/database.ts';
import { type ServiceProcess, startService } from '../support/processes.ts';
import { scrape } from '../support/scrape.ts';
import { type OwnPostgres, startOwnPostgres } from '../support/servers.ts';
import { until } from '../support/until.ts';
import { begun, follow, type Watcher } from '../support/watchers.ts';

const opened = new AsyncDisposableStack();
let databaseUrl: string;
beforeAll(async () => {
  databaseUrl = opened.use(await createDatabase()).url;
});
afterAll(() => opened.disposeAsync());

const watch = ({ messages }: Calls, request: Parameters<Calls['messages']['watchMessages']>[0] = {}) =>
  follow((signal) => messages.watchMessages(request, { signal }));
const events = ({ items }: Watcher<WatchMessagesResponse>) =>
  items.flatMap(({ payload }) => (payload.case === 'change' ? [payload.value] : []));
const sequencesOf = (watcher: Watcher<WatchMessagesResponse>) => events(watcher).map(({ event }) => Number(event?.sequence));
const openStreams = async (service: { readonly httpPort: number }) => (await scrape(service)).sum('watch_streams');

/** So many more events of a message. */
async function addEvents({ id, conversationId }: { readonly id: string; readonly conversationId: string }, count: number): Promise<void> {
  const sql = new pg.Client({ connectionString: databaseUrl });
  await sql.connect();
  await sql.query(
    `with locked as (update conversations set last_sequence = last_sequence + $3 where id = $2 returning last_sequence)
    insert into message_events (id, message_id, conversation_id, sequence, type, status_after)
    select gen_random_uuid(), $1, $2, last_sequence - $3 + number, 'provider_status', 'pending'
    from locked, generate_series(1, $3) number order by number`,
    [id, conversationId, count],
  );
  await sql.end();
}

describe('a caller who does not read', () => {
  it('holds up nobody, holds no memory without end, and is told everything when it reads', async () => {
    await using app = await startTestApp({ DATABASE_URL: databaseUrl });
    const calls = callsTo(app);
    // A large one, so that what the network takes in is soon full.
    const message = await calls.send({ toAddress: '+14155556001', body: 'x'.repeat(1_600) });
    const filter = { conversationIds: [message.conversationId] };
    const COUNT = 4_000;
    await using quick = await begun(watch(calls, { filter }));
    const leaving = new AbortController();
    const { messages } = callsTo(app);
    const slow = messages.watchMessages({ filter }, { signal: leaving.signal })[Symbol.asyncIterator]();
    await slow.next();
    await addEvents(message, COUNT);
    await quick.sees('the last', () => sequencesOf(quick).at(-1) === COUNT + 1);
    await until('it has fallen behind', async () => (await scrape(app)).sum('watch_streams_fallen_behind_total') > 0);
    const sequences: number[] = [];
    while (sequences.at(-1) !== COUNT + 1) {
      const { value } = await slow.next();
      if (value?.payload.case === 'change') sequences.push(Number(value.payload.value.event?.sequence));
    }
    expect(sequences).toEqual(Array.from({ length: sequences.length }, (_, index) => COUNT + 2 - sequences.length + index));
    expect(sequences.length).toBeGreaterThanOrEqual(COUNT);
    await addEvents(message, 1);
    const { value: next } = await slow.next();
    expect(next?.payload.value).toMatchObject({ event: { sequence: BigInt(COUNT + 2) } });
    leaving.abort();
    await until('it is over', async () => (await openStreams(app)) === 1);
  });
});

describe('a server that stops', () => {
  async function start(): Promise<{ readonly service: ServiceProcess; readonly calls: Calls }> {
    const service = await startService({ DATABASE_URL: databaseUrl, SHUTDOWN_TIMEOUT_MS: '20000' });
    return { service, calls: callsTo(service) };
  }

  it('tells its watchers at once to go elsewhere, where they go on', async () => {
    const [stopping, other] = [await start(), await start()];
    await using _ = stopping.service;
    await using __ = other.service;
    const filter = { address: '+14155556002' };
    const watchers = [watch(stopping.calls, { filter }), watch(stopping.calls, { filter, includeInitialState: true })];
    await using conversations = follow((signal) => stopping.calls.conversations.watchConversations({}, { signal }));
    for (const watcher of [...watchers, conversations]) await watcher.sees('a sign of life', ({ length }) => length > 0);
    const beganMs = performance.now();
    process.kill(stopping.service.pid, 'SIGTERM');
    for (const watcher of [...watchers, conversations]) {
      expect(await watcher.failure()).toMatchObject({ code: 'Unavailable', reason: 'DRAINING', retryAfterSeconds: 0.1 });
    }
    expect(await stopping.service.exited).toBe(0);
    // Long before what runs would be cut off.
    expect(performance.now() - beganMs).toBeLessThan(10_000);
    const sent = await other.calls.send({ toAddress: filter.address });
    for (const { token } of watchers) {
      await using resumed = watch(other.calls, { filter, resumeToken: token() });
      await resumed.sees('the message', () => events(resumed).some(({ message }) => message?.id === sent.id));
    }
  });
});

describe('a database', () => {
  let postgres: OwnPostgres;
  beforeAll(async () => {
    postgres = opened.use(await startOwnPostgres());
  });
  const settings = () => ({ DATABASE_URL: postgres.url, DATABASE_STATEMENT_TIMEOUT_MS: '1000', DATABASE_CONNECT_TIMEOUT_MS: '500' });

  it.each(['stopped', 'frozen'])('that is %s for a while interrupts no watcher', async (how) => {
    await using app = await startTestApp(settings());
    const calls = callsTo(app);
    await using watcher = await begun(watch(calls, { progressInterval: { seconds: 1n } }));
    const before = await calls.send();
    await watcher.sees('what was sent before', () => events(watcher).some(({ message }) => message?.id === before.id));
    if (how === 'stopped') await postgres.stop();
    else postgres.pause();
    const told = watcher.items.length;
    await watcher.sees('signs of life', ({ length }) => length >= told + 3);
    if (how === 'stopped') await postgres.start();
    else postgres.resume();
    let id = '';
    await until('it takes messages again', async () => {
      id = (await calls.send()).id;
      return true;
    });
    await watcher.sees('what was sent afterwards', () => events(watcher).some(({ message }) => message?.id === id));
    const sequences = sequencesOf(watcher);
    const [first = 0] = sequences;
    expect(sequences).toEqual(Array.from({ length: sequences.length }, (_, index) => first + index));
  });

  it('that is a standby for a while, and then the primary of a new timeline, interrupts no watcher', async () => {
    await using app = await startTestApp(settings());
    const calls = callsTo(app);
    await using watcher = await begun(watch(calls, { progressInterval: { seconds: 1n } }));
    const timeline = () => Number.parseInt(Buffer.from(watcher.token(), 'base64url').toString().split(' ')[3] ?? '', 16);
    const sees = (id: string) => watcher.sees('the message', () => events(watcher).some(({ message }) => message?.id === id));
    await sees((await calls.send()).id);
    const before = timeline();
    const ask = async (text: string) => {
      const sql = new pg.Client({ connectionString: postgres.url });
      await sql.connect();
      const { rows } = await sql.query<{ readonly answer: unknown }>(text);
      await sql.end();
      return rows[0]?.answer;
    };
    const folder = await ask(`select current_setting('data_directory') as answer`);
    await ask(`copy (select 'read by its name alone') to '${folder}/standby.signal'`);
    await postgres.stop();
    await postgres.start();
    expect(await ask('select pg_is_in_recovery() as answer')).toBe(true);
    const told = watcher.items.length;
    await watcher.sees('signs of life', ({ length }) => length >= told + 3);
    expect(await ask('select pg_promote() as answer')).toBe(true);
    let id = '';
    await until('it takes messages again', async () => {
      id = (await calls.send()).id;
      return true;
    });
    await sees(id);
    expect(timeline()).toBe(before + 1);
    await using resumed = await begun(watch(calls, { resumeToken: watcher.token() }));
    await calls.send();
    await resumed.sees('the next', () => events(resumed).length > 0);
  });

  it('that is away lets no new watcher in', async () => {
    await using app = await startTestApp(settings());
    await postgres.stop();
    const refused = { code: 'Unavailable', reason: 'STORAGE_UNAVAILABLE', retryAfterSeconds: 1 };
    expect(await watch(callsTo(app)).failure()).toMatchObject(refused);
    await postgres.start();
  });
});

describe('a thousand watchers', () => {
  const WATCHERS = 1_000;
  const CONVERSATIONS = 10;

  it('are told what each of them asked for, and leave nothing behind', async () => {
    await using app = await startTestApp({ DATABASE_URL: databaseUrl });
    const calls = callsTo(app);
    const addresses = Array.from({ length: CONVERSATIONS }, (_, index) => `+141555561${10 + index}`);
    const ids = await Promise.all(addresses.map(async (toAddress) => (await calls.send({ toAddress })).conversationId));
    const connections = Array.from({ length: 20 }, () => callsTo(app));
    const watchers = Array.from({ length: WATCHERS }, (_, index) =>
      watch(connections[index % connections.length] ?? calls, { filter: { conversationIds: [ids[index % CONVERSATIONS] ?? ''] } }),
    );
    await until('all are open', async () => (await openStreams(app)) === WATCHERS);
    for (const watcher of watchers) await begun(watcher);
    const [toAddress = ''] = addresses;
    const sent = await calls.send({ toAddress });
    for (let index = 0; index < WATCHERS; index += CONVERSATIONS) {
      const watcher = watchers[index] as Watcher<WatchMessagesResponse>;
      await watcher.sees('the message', () => events(watcher).some(({ message }) => message?.id === sent.id));
    }
    const others = watchers.filter((_, index) => index % CONVERSATIONS !== 0);
    expect(others.flatMap(events).filter(({ message }) => message?.id === sent.id)).toEqual([]);
    await Promise.all(watchers.map((watcher) => watcher.leave()));
    await until('all are gone', async () => (await openStreams(app)) === 0);
  });
});
