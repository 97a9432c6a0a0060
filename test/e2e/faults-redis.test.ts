/** Redis stopped, silent, full, locked or someone else's: callers notice nothing but time. */
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { patiently } from '../support/cached-service.ts';
import { type Calls, callsTo } from '../support/calls.ts';
import { createDatabase } from '../support/database.ts';
import { type ServiceProcess, startService } from '../support/processes.ts';
import { scrape } from '../support/scrape.ts';
import { type OwnServer, startOwnRedis } from '../support/servers.ts';

const PASSWORD = 'right';
const CONVERSATIONS = 20;
const MESSAGES_EACH = 3;

interface Rows {
  readonly messageIds: readonly string[];
  readonly conversations: readonly { readonly id: string; readonly toAddress: string; readonly messageId: string }[];
}

/** Something to read and to change. */
async function seed(calls: Calls): Promise<Rows> {
  const sent = await Promise.all(
    Array.from({ length: CONVERSATIONS * MESSAGES_EACH }, (_, index) =>
      calls.send({ toAddress: `+1415555${3_000 + (index % CONVERSATIONS)}` }),
    ),
  );
  const conversations = new Map(
    sent.map(({ conversationId, toAddress, id }) => [conversationId, { id: conversationId, toAddress, messageId: id }]),
  );
  return { messageIds: sent.map(({ id }) => id), conversations: [...conversations.values()] };
}

/** One call of a mixture: of forty, thirty-six read, two of them many rows, and four write. Rejects when it fails or answers something else. */
async function mixedCall(calls: Calls, { messageIds, conversations }: Rows, index: number): Promise<void> {
  const id = messageIds[index % messageIds.length] ?? '';
  const conversation = conversations[index % conversations.length] ?? { id: '', toAddress: '', messageId: '' };
  switch (index % 40) {
    case 0:
    case 20:
      expect((await calls.send({ toAddress: conversation.toAddress })).conversationId).toBe(conversation.id);
      return;
    case 10: {
      const title = `title ${index}`;
      const { conversation: updated } = await calls.conversations.updateConversation({ conversation: { id: conversation.id, title } });
      expect(updated?.title).toBe(title);
      return;
    }
    case 30:
      await calls.conversations.markConversationRead({ id: conversation.id, throughMessageId: conversation.messageId });
      return;
    case 7:
    case 27: {
      const ids = Array.from({ length: 5 }, (_, offset) => messageIds[(index + offset) % messageIds.length] ?? '');
      expect((await calls.messages.batchGetMessages({ ids })).messages.map((message) => message.id)).toEqual(ids);
      return;
    }
    case 1:
    case 5:
    case 12:
    case 16:
    case 23:
    case 29:
    case 33:
    case 38:
      expect((await calls.readConversation(conversation.id)).conversation.id).toBe(conversation.id);
      return;
    default:
      expect((await calls.readMessage(id)).message.id).toBe(id);
  }
}

/** `count` mixed calls, `atOnce` at a time. `at` runs before the call with that number, without holding up the others. */
async function mixedCalls(calls: Calls, rows: Rows, count: number, at: Readonly<Record<number, () => Promise<void>>> = {}): Promise<void> {
  const atOnce = 64;
  let next = 0;
  const work = async (): Promise<void> => {
    for (let index = next; index < count; index = next) {
      next += 1;
      await at[index]?.();
      await mixedCall(calls, rows, index);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
}

describe.skipIf(inject('redis') === null)('Redis', () => {
  const opened = new AsyncDisposableStack();
  let redis: OwnServer;
  let service: ServiceProcess;
  let calls: Calls;
  let rows: Rows;

  beforeAll(async () => {
    const database = opened.use(await createDatabase());
    redis = opened.use(await startOwnRedis(['--requirepass', PASSWORD]));
    // The service comes up first.
    await redis.stop();
    const address = { REDIS_HOST: redis.host, REDIS_PORT: String(redis.port), REDIS_PASSWORD: PASSWORD };
    // Many writes to few rows wait in line; how long is not the matter.
    service = opened.use(await startService({ DATABASE_URL: database.url, DATABASE_CONNECT_TIMEOUT_MS: '50000', ...address }));
    calls = callsTo(service);
    rows = await seed(calls);
  });
  afterAll(() => opened.disposeAsync());

  const sourceOf = async (): Promise<string> => (await calls.readMessage(rows.messageIds[0] ?? '')).source;
  const hitsAgain = () => expect.poll(sourceOf, patiently).toBe('hit');
  const failedCalls = async (): Promise<number> => {
    const metrics = await scrape(service);
    return metrics.sum('grpc_server_handled_total') - metrics.sum('grpc_server_handled_total', { grpc_code: 'OK' });
  };
  const gets = async (result: string): Promise<number> =>
    (await scrape(service)).sum('cache_operations_total', { operation: 'get', result });

  async function asAdmin(work: (admin: Redis) => Promise<unknown>, password = PASSWORD): Promise<void> {
    const admin = new Redis({ host: redis.host, port: redis.port, password });
    try {
      await work(admin);
    } finally {
      admin.disconnect();
    }
  }

  afterEach(async () => {
    redis.resume();
    expect(await failedCalls()).toBe(0);
  });

  it('may come later than the service', async () => {
    expect(await sourceOf()).toBe('bypass');
    await redis.start();
    await hitsAgain();
  });

  it('may stop and start while 10,000 calls run, and none fails', async () => {
    const before = { hit: await gets('hit'), bypass: await gets('bypass') };
    await mixedCalls(calls, rows, 10_000, { 3000: () => redis.stop(), 6000: () => redis.start() });
    expect(await gets('hit')).toBeGreaterThan(before.hit);
    expect(await gets('bypass')).toBeGreaterThan(before.bypass);
    await hitsAgain();
  }, 300_000);

  it('may fall silent: reads stop asking it, all calls succeed, and it is used again when it speaks', async () => {
    redis.pause();
    await expect
      .poll(async () => {
        await sourceOf();
        return (await scrape(service)).sum('cache_breaker_open');
      }, patiently)
      .toBe(1);
    const [before, reads] = [{ bypass: await gets('bypass'), error: await gets('error') }, 200];
    await Promise.all(Array.from({ length: reads }, sourceOf));
    const bypassed = (await gets('bypass')) - before.bypass;
    const asked = (await gets('error')) - before.error;
    expect(bypassed + asked).toBe(reads);
    // One trial a second.
    expect(asked).toBeLessThan(reads / 10);
    await mixedCalls(calls, rows, 200);
    redis.resume();
    await hitsAgain();
    expect((await scrape(service)).sum('cache_breaker_open')).toBe(0);
  });

  interface Trouble {
    readonly what: string;
    readonly begin: () => Promise<void>;
    readonly end: () => Promise<void>;
  }
  /** A primary that nobody runs. */
  const follow = (admin: Redis) => admin.replicaof('127.0.0.1', 1);
  const lead = (admin: Redis) => admin.replicaof('NO', 'ONE');
  /** Makes Redis ask for another password than before, of everybody, at once. */
  const lock = (password: string) => async (admin: Redis) => {
    await admin.config('SET', 'requirepass', password);
    await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  };
  const troubles: readonly Trouble[] = [
    {
      what: 'full',
      begin: () => asAdmin((admin) => admin.config('SET', 'maxmemory', '1', 'maxmemory-policy', 'noeviction')),
      end: () => asAdmin((admin) => admin.config('SET', 'maxmemory', '0')),
    },
    { what: 'a read-only replica', begin: () => asAdmin(follow), end: () => asAdmin(lead) },
    {
      what: 'a replica that refuses to answer',
      begin: () => asAdmin((admin) => admin.config('SET', 'replica-serve-stale-data', 'no').then(() => follow(admin))),
      end: () => asAdmin((admin) => lead(admin).then(() => admin.config('SET', 'replica-serve-stale-data', 'yes'))),
    },
    {
      what: 'full of keys of another type',
      begin: () =>
        asAdmin(async (admin) => {
          await admin.flushall();
          for (const id of rows.messageIds) await admin.lpush(`message:${id}`, 'x');
          for (const { id } of rows.conversations) await admin.lpush(`conversation:${id}`, 'x');
        }),
      end: () => asAdmin((admin) => admin.flushall()),
    },
    {
      what: 'empty, and without the scripts it was given',
      begin: () => asAdmin((admin) => admin.script('FLUSH').then(() => admin.flushall())),
      end: async () => {},
    },
    {
      what: 'locked with another password',
      begin: () => asAdmin(lock('another')),
      end: () => asAdmin(lock(PASSWORD), 'another'),
    },
  ];
  it.each(troubles)('may be $what', async ({ begin, end }) => {
    await redis.start();
    await begin();
    await mixedCalls(calls, rows, 300);
    await end();
    await hitsAgain();
  });
});

describe('no Redis at all', () => {
  it('by configuration: everything works, and answers say that the cache was passed by', async () => {
    await using opened = new AsyncDisposableStack();
    const database = opened.use(await createDatabase());
    const service = opened.use(await startService({ DATABASE_URL: database.url, REDIS_HOST: '' }));
    const calls = callsTo(service);
    const rows = await seed(calls);
    await mixedCalls(calls, rows, 200);
    expect((await calls.readMessage(rows.messageIds[0] ?? '')).source).toBe('bypass');
    expect((await calls.readConversation(rows.conversations[0]?.id ?? '')).source).toBe('bypass');
    expect((await fetch(`http://127.0.0.1:${service.httpPort}/readyz`)).status).toBe(200);
  });
});
