/**
 * The lean lane against Connect: random requests, sound and broken, sent to both byte by byte. Callers must not be able to tell them
 * apart. FUZZ_REQUESTS=100000 asks for more of them, FUZZ_SEED=1 for the same ones again.
 */
import { connect as netConnect } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { expect, inject, it, vi } from 'vitest';
import { answerByConnect } from '../../src/rpc/connect-lane.ts';
import { anyWire, type WireRequest } from '../support/any-wire.ts';
import { seenOf } from '../support/lane-server.ts';
import { type AnyCall, type LaneWorld, startLaneWorld } from '../support/lane-world.ts';
import { connectRaw, type RawClient } from '../support/raw-calls.ts';
import { scrape } from '../support/scrape.ts';

vi.mock('../../src/rpc/connect-lane.ts', { spy: true });

const REQUESTS = Number(process.env['FUZZ_REQUESTS'] ?? 4_000);
const SEED = Number(process.env['FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
/** Streams at once on each connection, on average. */
const CONCURRENCY = 8;
const MAX_REQUEST_BYTES = 20_000;
const PATIENCE = { timeout: 120_000 + 30 * REQUESTS };

const limits = {
  MAX_REQUEST_BYTES: String(MAX_REQUEST_BYTES),
  MAX_RESPONSE_BYTES: '12000',
  MAX_DEADLINE_MS: '600000',
  DEFAULT_DEADLINE_MS: '60000',
};

/** Of loopback; what one address may do wrong is limited, and here it is done on purpose. */
const ADDRESSES = 250;

/** Before a connection is left: some of its requests never end, and a server bears so many of them from one. */
const MAX_BATCHES = 50;

/** A connection that is made again, from another address, after some batches, and when a request has ended it. */
function connector({ grpcPort: port }: { readonly grpcPort: number }) {
  let client: RawClient | undefined;
  let connections = 0;
  let batches = 0;
  const createConnection = () => {
    connections += 1;
    return netConnect({ host: '127.0.0.1', port, localAddress: `127.0.1.${1 + (connections % ADDRESSES)}` });
  };
  return {
    async client(): Promise<RawClient> {
      batches += 1;
      if (client === undefined || client.session.closed || client.session.destroyed || batches > MAX_BATCHES) {
        await client?.[Symbol.asyncDispose]();
        client = await connectRaw(`http://127.0.0.1:${port}`, { createConnection });
        batches = 1;
      }
      return client;
    },
    async [Symbol.asyncDispose]() {
      await client?.[Symbol.asyncDispose]();
    },
  };
}

type Counts = Readonly<Record<string, number>>;

/** What operators see: calls by method and code. */
async function countsOf(app: { readonly httpPort: number }): Promise<Counts> {
  const { text } = await scrape(app);
  return Object.fromEntries(
    [...text.matchAll(/^(grpc_server_(?:handled|started)_total\{.*\}) (\d+)$/gm)].map(([, name, count]) => [name, Number(count)]),
  );
}

function since(before: Counts, after: Counts): Counts {
  const more = Object.entries(after).map(([name, count]) => [name, count - (before[name] ?? 0)] as const);
  return Object.fromEntries(more.filter(([, count]) => count > 0));
}

function table(counts: ReadonlyMap<string, number>): string {
  return [...counts]
    .toSorted(([, left], [, right]) => right - left)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
}

const increment = <Key>(counts: Map<Key, number>, key: Key) => counts.set(key, (counts.get(key) ?? 0) + 1);

/** Throws the smallest requests it finds that the two do not answer in the same way. */
async function compare({ apps, fingerprint }: LaneWorld, calls: fc.Arbitrary<AnyCall>, requests: number): Promise<void> {
  const before = await fingerprint();
  const counts = [await countsOf(apps[0]), await countsOf(apps[1])] as const;
  const [kinds, outcomes] = [new Map<string, number>(), new Map<string, number>()];
  /** By the log of the server: so often it left a call to Connect. */
  const byConnect = new Map<unknown, number>();
  let total = 0;
  await using lean = connector(apps[0]);
  await using connect = connector(apps[1]);
  const answers = async (client: RawClient, batch: readonly WireRequest[]) =>
    (await Promise.all(batch.map(({ request }) => client.call(request)))).map(seenOf);
  const batches = fc.array(anyWire(calls, { maxRequestBytes: MAX_REQUEST_BYTES }), {
    minLength: 1,
    maxLength: 2 * CONCURRENCY - 1,
    size: 'max',
  });
  const property = fc.asyncProperty(batches, async (batch) => {
    const [left, right] = await Promise.all([answers(await lean.client(), batch), answers(await connect.client(), batch)]);
    for (const [, log] of vi.mocked(answerByConnect).mock.calls) increment(byConnect, log);
    vi.mocked(answerByConnect).mockClear();
    total += batch.length;
    for (const [index, { kind, request }] of batch.entries()) {
      const [answer, other] = [left[index], right[index]];
      increment(kinds, kind);
      const status = answer?.trailers['grpc-status'] ?? answer?.headers['grpc-status'];
      increment(outcomes, status === undefined ? `HTTP ${answer?.status ?? 'stream error'}` : `grpc-status ${status}`);
      // The comparison that explains itself takes long.
      if (!isDeepStrictEqual(answer, other)) expect({ kind, request, answer }).toEqual({ kind, request, answer: other });
    }
  });
  await fc.assert(property, { seed: SEED, numRuns: Math.ceil(requests / CONCURRENCY) });
  expect(await fingerprint()).toBe(before);
  // A call is counted when its stream has closed, after its answer.
  await vi.waitFor(async () => expect(since(counts[0], await countsOf(apps[0]))).toEqual(since(counts[1], await countsOf(apps[1]))), {
    timeout: 5_000,
  });
  // The one server leaves all to Connect that reaches a method; the other what is not for the lean lane.
  const [least = 0, most = 0] = [...byConnect.values()].toSorted((left, right) => left - right);
  const lanes = `the lean lane answered ${most - least} of them and handed ${least} over`;
  console.log(`${total} requests without a difference, seed ${SEED}: ${lanes}\n${table(kinds)}\n${table(outcomes)}`);
}

it(`no request tells the lanes apart (seed ${SEED})`, PATIENCE, async () => {
  await using world = await startLaneWorld(limits);
  await compare(world, world.calls, REQUESTS);
});

it.skipIf(inject('redis') === null)(`no read of cached rows tells the lanes apart (seed ${SEED})`, PATIENCE, async () => {
  const redis = inject('redis');
  const cache = { CACHE_KEY_PREFIX: 'lanes:', CACHE_REFRESH_BETA: '0', CACHE_VERIFY_RATIO: '0', REDIS_COMMAND_TIMEOUT_MS: '10000' };
  const lives = { CACHE_TTL_SECONDS: '86400', CACHE_TTL_IN_FLIGHT_SECONDS: '86400' };
  const address = { REDIS_HOST: String(redis?.host), REDIS_PORT: String(redis?.port) };
  await using world = await startLaneWorld({ ...limits, ...cache, ...lives, ...address });
  await world.warm();
  await compare(world, world.cachedReads, REQUESTS / 4);
});
