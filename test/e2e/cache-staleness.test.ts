/** Callers who accept old answers get them from the memory of the process, and are told how old they may be. */
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { type CachedService, startCachedService } from '../support/cached-service.ts';
import { failureOf } from '../support/calls.ts';

describe.skipIf(inject('redis') === null)('max_staleness', () => {
  let on: CachedService;
  beforeAll(async () => {
    on = await startCachedService('staleness:');
  });
  afterAll(() => on?.[Symbol.asyncDispose]());

  interface Told {
    readonly source: string | null;
    readonly ageMs: number;
    readonly title: string | undefined;
  }

  async function read(id: string, seconds?: number): Promise<Told> {
    let header = new Headers();
    const maxStaleness = seconds === undefined ? {} : { maxStaleness: { seconds: BigInt(seconds) } };
    const { conversation } = await on.calls.conversations.getConversation(
      { id, ...maxStaleness },
      {
        onHeader: (headers) => {
          header = headers;
        },
      },
    );
    return { source: header.get('x-cache'), ageMs: Number(header.get('x-cache-age-ms')), title: conversation?.title };
  }

  let phone = 5_000;
  async function newConversation(): Promise<string> {
    phone += 1;
    const { conversationId } = await on.calls.send({ toAddress: `+1415555${phone}` });
    await on.relayed();
    await read(conversationId);
    await on.cellOf('conversation', conversationId);
    return conversationId;
  }

  it('is answered without Redis and without PostgreSQL, as of an earlier read', async () => {
    const id = await newConversation();
    await on.redis.del(on.keyOf('conversation', id));
    expect(await on.proxy.statementsOf(async () => expect(await read(id, 60)).toMatchObject({ source: 'hit-local', title: '' }))).toEqual(
      [],
    );
    expect(await on.redis.exists(on.keyOf('conversation', id))).toBe(0);
  });

  it('may show what has been overtaken, and says how long ago it was known to be current; a strong read never does', async () => {
    const id = await newConversation();
    await on.calls.conversations.updateConversation({ conversation: { id, title: 'new' } });
    const old = await read(id, 60);
    expect(old).toMatchObject({ source: 'hit-local', title: '' });
    expect(old.ageMs).toBeGreaterThan(0);
    const later = await read(id, 60);
    expect(later.ageMs).toBeGreaterThanOrEqual(old.ageMs);
    expect(await read(id)).toEqual({ source: 'hit', ageMs: 0, title: 'new' });
    expect(await read(id, 60)).toMatchObject({ source: 'hit-local', title: 'new' });
  });

  it('0 is a strong read', async () => {
    const id = await newConversation();
    expect(await read(id, 0)).toMatchObject({ source: 'hit', ageMs: 0 });
  });

  it('is not served from what is older than that', async () => {
    const id = await newConversation();
    await expect.poll(async () => (await read(id, 60)).ageMs, { timeout: 20_000 }).toBeGreaterThan(5);
    const nanos = 1_000_000;
    let source: string | null = null;
    await on.calls.conversations.getConversation(
      { id, maxStaleness: { seconds: 0n, nanos } },
      {
        onHeader: (headers) => {
          source = headers.get('x-cache');
        },
      },
    );
    expect(source).toBe('hit');
  });

  it('counts for what is not there, too', async () => {
    const id = '01900000-0000-7000-8000-00000000dead';
    const missing = (seconds: number) => failureOf(on.calls.messages.getMessage({ id, maxStaleness: { seconds: BigInt(seconds) } }));
    expect(await missing(0)).toMatchObject({ code: 'NotFound' });
    expect(await on.proxy.statementsOf(async () => expect(await missing(60)).toMatchObject({ code: 'NotFound' }))).toEqual([]);
  });

  it('counts for batches: the source is that of the worst answer, the age that of the oldest', async () => {
    const [known, unknown] = [await newConversation(), await newConversation()];
    await on.redis.del(on.keyOf('conversation', unknown));
    const told: (string | null)[] = [];
    const batch = (ids: readonly string[]) =>
      on.calls.conversations.batchGetConversations(
        { ids: [...ids], maxStaleness: { seconds: 60n } },
        {
          onHeader: (headers) => {
            told.push(headers.get('x-cache'));
          },
        },
      );
    await batch([known]);
    await batch([known, unknown]);
    const fresh = await newFromOutside();
    await batch([known, fresh]);
    expect(told).toEqual(['hit-local', 'hit-local', 'miss']);
  });

  /** A conversation that nobody has read. */
  async function newFromOutside(): Promise<string> {
    phone += 1;
    const { conversationId } = await on.calls.send({ toAddress: `+1415555${phone}` });
    await on.relayed();
    return conversationId;
  }

  it('is limited by the contract', async () => {
    const id = '01900000-0000-7000-8000-00000000dead';
    const tooOld = { id, maxStaleness: { seconds: 301n } };
    expect(await failureOf(on.calls.messages.getMessage(tooOld))).toMatchObject({ code: 'InvalidArgument', reason: 'FIELD_INVALID' });
  });
});
