/**
 * `make bench-identity`: what it costs a cached read that it is asked who calls, in CPU of the service: the same service without
 * authentication and with tokens in cleartext, and over TLS without and with client certificates, turn by turn in one run.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type ClientHttp2Session, connect } from 'node:http2';
import { join } from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import { GetMessageRequestSchema } from '../gen/messaging/v1/message_service_pb.js';
import { createMessagingClient, MessageType } from '../src/client/messaging-client.ts';
import type { KeyPair } from '../src/dev/certificates.ts';
import { startPostgres } from '../src/dev/postgres.ts';
import { startRedis } from '../src/dev/redis.ts';
import { createTestAuthority } from '../test/support/certificate-files.ts';
import { startService } from '../test/support/processes.ts';
import { frame } from '../test/support/raw-calls.ts';
import { createIssuer } from '../test/support/token-issuer.ts';
import { cpuUs } from './process-cost.ts';

const ROUNDS = 9;
const CALLS = 4_000;
const WARM_UP_CALLS = 12_000;
const AT_ONCE = 32;

type Env = Readonly<Record<string, string>>;

await using opened = new AsyncDisposableStack();
const postgres = opened.use(await startPostgres({ fast: true }));
const redis = await startRedis();
if (redis === undefined) throw new Error('There is no redis-server; run `make peers`.');
opened.use(redis);
const authority = opened.use(await createTestAuthority());
const issuer = await createIssuer();
const folder = mkdtempSync('/tmp/messaging-bench-identity-');
opened.defer(() => rmSync(folder, { recursive: true, force: true }));
const jwks = join(folder, 'jwks.json');
writeFileSync(jwks, JSON.stringify(issuer.keys()));

const shared = {
  DATABASE_URL: postgres.url,
  REDIS_HOST: redis.host,
  REDIS_PORT: String(redis.port),
  CACHE_VERIFY_RATIO: '0',
  LOG_LEVEL: 'info',
};
const { TLS_CLIENT_CA_FILE: clientCa = '', ...tls } = authority.env;
const tokens = { AUTH_MODE: 'on', AUTH_JWKS_FILE: jwks, AUTH_JWT_ISSUERS: issuer.name, AUTH_JWT_AUDIENCES: issuer.audience };
const token = await issuer.token({ exp: Math.floor(Date.now() / 1_000) + 3_600 });
const pair = await authority.issue({ cn: 'bench' });

async function startContender(env: Env, scheme: 'http' | 'https', certificate?: KeyPair, authorization?: string) {
  const service = opened.use(await startService({ ...shared, DATABASE_MIGRATE_ON_START: 'true', ...env }));
  const options = { ca: authority.ca, ...certificate };
  const session = opened.adopt(connect(`${scheme}://localhost:${service.grpcPort}`, options), (one) => one.destroy());
  return { service, session, authorization };
}

const contenders = {
  'cleartext, off': await startContender({}, 'http'),
  'cleartext, token': await startContender(tokens, 'http', undefined, `Bearer ${token}`),
  'cleartext, limit': await startContender({ RATE_LIMITS: '*=1000000/1' }, 'http'),
  'TLS, off': await startContender(tls, 'https'),
  'TLS, certificate': await startContender(
    { ...authority.env, TLS_CLIENT_CA_FILE: clientCa, AUTH_MODE: 'on', AUTH_CERT_ROLES: '*=caller' },
    'https',
    pair,
  ),
};
type Contender = (typeof contenders)['cleartext, off'];

using client = createMessagingClient(`127.0.0.1:${contenders['cleartext, off'].service.grpcPort}`, { deadlineMs: 60_000 });
const draft = {
  fromAddress: '+14155552671',
  toAddress: '+14155552672',
  messageType: MessageType.SMS,
  body: 'Your table for two is ready.',
};
const { message } = await client.messages.sendMessage({ message: draft });
const body = frame(toBinary(GetMessageRequestSchema, create(GetMessageRequestSchema, { id: message?.id ?? '' })));

/** Throws for an answer that is not the message, from the cache once it is `warm`. */
function call(session: ClientHttp2Session, authorization: string | undefined, warm: boolean): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const path = '/messaging.v1.MessageService/GetMessage';
  const credentials = authorization === undefined ? {} : { authorization };
  const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers', ...credentials });
  let source: unknown;
  stream.on('response', (headers) => (source = headers['x-cache']));
  stream.on('trailers', (trailers) => {
    if (trailers['grpc-status'] === '0' && (!warm || source === 'hit')) resolve();
    else reject(new Error(`answered ${trailers['grpc-status']}, x-cache ${source}: ${trailers['grpc-message']}`));
  });
  stream.on('error', reject).resume().end(body);
  return promise;
}

async function load({ session, authorization }: Contender, calls: number, warm: boolean): Promise<void> {
  let left = calls;
  const one = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      await call(session, authorization, warm);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
}

const all = Object.entries(contenders);
for (const [, contender] of all) await load(contender, WARM_UP_CALLS, false);
const costs = new Map<string, number[]>(all.map(([name]) => [name, []]));
for (let round = 0; round < ROUNDS; round += 1) {
  for (const [name, contender] of round % 2 === 0 ? all : all.toReversed()) {
    const before = cpuUs(contender.service.pid);
    await load(contender, CALLS, true);
    costs.get(name)?.push((cpuUs(contender.service.pid) - before) / CALLS);
  }
}

const median = (values: readonly number[]): number =>
  values.toSorted((left, right) => left - right)[Math.floor(values.length / 2)] ?? Number.NaN;
const of = (name: keyof typeof contenders): readonly number[] => costs.get(name) ?? [];
console.log('\nCPU of the service for a cached GetMessage, µs: median (least to most)');
for (const [name, values] of costs)
  console.log(`  ${name.padEnd(18)} ${median(values).toFixed(1)} (${Math.min(...values).toFixed(1)} to ${Math.max(...values).toFixed(1)})`);
console.log('\nOf each round, with to without');
const pairs = [
  ['cleartext, token', 'cleartext, off'],
  ['cleartext, limit', 'cleartext, off'],
  ['TLS, certificate', 'TLS, off'],
] as const;
for (const [one, other] of pairs) {
  const ratios = of(one).map((value, round) => value / (of(other)[round] ?? Number.NaN));
  console.log(`  ${one.padEnd(18)} ${median(ratios).toFixed(3)} (${Math.min(...ratios).toFixed(3)} to ${Math.max(...ratios).toFixed(3)})`);
}
