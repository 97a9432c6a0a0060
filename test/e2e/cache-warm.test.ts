/** WarmCache: what it loads, in which order, and how it stops and goes on. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { type Client, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import {
  CachedEntity,
  CacheService,
  InspectCacheEntryResponse_Kind as Kind,
  type WarmCacheRequestSchema,
  type WarmCacheResponse,
} from '../../gen/messaging/v1/cache_service_pb.js';
import { MessageType } from '../../gen/messaging/v1/message_pb.js';
import { type CachedService, patiently, startCachedService } from '../support/cached-service.ts';
import { failureOf } from '../support/calls.ts';
import { scrape } from '../support/scrape.ts';

const ROWS = 250;
const { MESSAGE, CONVERSATION } = CachedEntity;

describe.skipIf(inject('redis') === null)('WarmCache', () => {
  let on: CachedService;
  let cache: Client<typeof CacheService>;
  let ids: readonly string[];
  beforeAll(async () => {
    // The doorkeeper would keep out what is missed for the first time.
    on = await startCachedService('warm:', { CACHE_DOORKEEPER_SECONDS: '60' });
    cache = createClient(CacheService, createGrpcTransport({ baseUrl: `http://127.0.0.1:${on.service.grpcPort}` }));
    const message = { fromAddress: '+14155552671', toAddress: '+14155552690', body: 'warm', messageType: MessageType.SMS };
    const batches = Array.from({ length: ROWS / 50 }, () =>
      on.calls.messages.batchSendMessages({ requests: Array.from({ length: 50 }, () => ({ message })) }),
    );
    const sent = await Promise.all(batches);
    ids = sent.flatMap(({ responses }) => responses.map((response) => response.message?.id ?? ''));
    await on.relayed();
  });
  afterAll(() => on?.[Symbol.asyncDispose]());

  const cached = async (): Promise<number> => {
    const cells = await on.redis.mget(ids.map((id) => on.keyOf('message', id)));
    return cells.filter((cell) => cell?.startsWith('V:')).length;
  };
  /** What it told first, when it was canceled because of that and the service has noticed. */
  async function interrupted(request: MessageInitShape<typeof WarmCacheRequestSchema>): Promise<WarmCacheResponse> {
    const canceled = { grpc_method: 'WarmCache', grpc_code: 'CANCELLED' };
    const before = (await scrape(on.service)).sum('grpc_server_handled_total', canceled);
    const stopping = new AbortController();
    const told: WarmCacheResponse[] = [];
    const warming = (async () => {
      for await (const progress of cache.warmCache(request, { signal: stopping.signal })) {
        told.push(progress);
        stopping.abort();
      }
    })();
    expect((await failureOf(warming)).code).toBe('Canceled');
    await expect.poll(async () => (await scrape(on.service)).sum('grpc_server_handled_total', canceled), patiently).toBe(before + 1);
    const [first] = told;
    if (first === undefined) throw new Error('it told nothing');
    return first;
  }
  const cool = () => cache.invalidateCache({ entity: MESSAGE, all: true });

  it('loads the newest rows, so that reads of them are hits', async () => {
    await cool();
    const progress = await Array.fromAsync(cache.warmCache({ entity: MESSAGE, count: 100_000, rate: 100_000 }));
    const last = progress.at(-1);
    expect(Number(last?.examined)).toBeGreaterThanOrEqual(ROWS);
    expect(last).toMatchObject({ examined: last?.total, resumeToken: '' });
    expect(last?.doneAt).toBeDefined();
    expect(await cached()).toBe(ROWS);
    const id = ids[0] ?? '';
    expect(await on.proxy.statementsOf(() => on.calls.readMessage(id))).toEqual([]);
    const again = await Array.fromAsync(cache.warmCache({ entity: MESSAGE, count: 100_000, rate: 100_000 }));
    expect(again.at(-1)).toMatchObject({ loaded: 0n, examined: last?.examined });
  });

  it('counts no reads', async () => {
    await cool();
    const before = await cache.getCacheStatistics({});
    await Array.fromAsync(cache.warmCache({ entity: MESSAGE, count: ROWS, rate: 100_000 }));
    const after = await cache.getCacheStatistics({});
    const reads = ({ total }: typeof before) => total.map(({ hits, misses, bypasses }) => [hits, misses, bypasses]);
    expect(reads(after)).toEqual(reads(before));
  });

  it('begins with what was read lately', async () => {
    const hot = ids[ROWS - 1] ?? '';
    await cool();
    await on.calls.readMessage(hot);
    await on.cellOf('message', hot);
    await cool();
    await Array.fromAsync(cache.warmCache({ entity: MESSAGE, count: 1 }));
    expect((await cache.inspectCacheEntry({ entity: MESSAGE, id: hot })).kind).toBe(Kind.VALUE);
    expect(await cached()).toBe(1);
  });

  it('warms conversations', async () => {
    const { conversationId } = await on.calls.send({ toAddress: '+14155552691' });
    await on.relayed();
    await Array.fromAsync(cache.warmCache({ entity: CONVERSATION, count: 1_000, rate: 100_000 }));
    expect((await on.calls.readConversation(conversationId)).source).toBe('hit');
  });

  it('goes on where an interrupted one was', async () => {
    await cool();
    // More than there are: what was read lately may be counted twice.
    const count = 2 * ROWS;
    const { examined, loaded, resumeToken, doneAt } = await interrupted({ entity: MESSAGE, count, rate: 50 });
    expect(examined).toBeGreaterThan(0n);
    expect(examined).toBeLessThan(BigInt(ROWS));
    expect(doneAt).toBeDefined();
    await cool();
    const rest = await Array.fromAsync(cache.warmCache({ entity: MESSAGE, count, rate: 100_000, resumeToken }));
    expect(rest.at(-1)).toMatchObject({ examined: rest.at(-1)?.total, resumeToken: '' });
    // What was done before is not done again.
    expect(await cached()).toBeLessThanOrEqual(ROWS + 2 - Number(examined));
    expect(rest.at(-1)?.loaded).toBeGreaterThan(loaded);
    const mixedUp = failureOf(Array.fromAsync(cache.warmCache({ entity: CONVERSATION, count: 1, resumeToken })));
    expect(await mixedUp).toMatchObject({ code: 'InvalidArgument', reason: 'PAGE_TOKEN_INVALID' });
  });

  it.each(['nonsense', Buffer.from('w1 message 1 1 1 k').toString('base64url'), Buffer.from('w1 message 1 -1 1').toString('base64url')])(
    'refuses the token %s',
    async (resumeToken) => {
      const refused = failureOf(Array.fromAsync(cache.warmCache({ entity: MESSAGE, count: 1, resumeToken })));
      expect(await refused).toMatchObject({ code: 'InvalidArgument', reason: 'PAGE_TOKEN_INVALID' });
    },
  );

  it('stops within a batch of its caller going away', async () => {
    await cool();
    const { examined } = await interrupted({ entity: MESSAGE, count: ROWS, rate: 20 });
    // It would take another ten seconds; a later one finds what it has left undone.
    const rest = await Array.fromAsync(cache.warmCache({ entity: MESSAGE, count: ROWS, rate: 100_000 }));
    expect(rest.at(-1)?.loaded).toBeGreaterThanOrEqual(BigInt(ROWS) - examined - 20n);
  });
});
