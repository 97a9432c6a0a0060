/** Who may call, over real TLS with real certificates and tokens whose keys a real server publishes. */
import { connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestAuthority, type TestAuthority } from '../support/certificate-files.ts';
import { bearer, type IdentityWorld, problemOf, refusedAs, startIdentityWorld } from '../support/identity-world.ts';
import { failure } from '../support/protocols.ts';
import { connectRaw, failureIn, frame } from '../support/raw-calls.ts';
import type { Issuer } from '../support/token-issuer.ts';
import { until } from '../support/until.ts';

let world: IdentityWorld;
let authority: TestAuthority;
let issuer: Issuer;
let peer: IdentityWorld['peer'];
beforeAll(async () => {
  world = await startIdentityWorld();
  ({ authority, issuer, peer } = world);
});
afterAll(() => world[Symbol.asyncDispose]());

const draft = { fromAddress: '+14155552671', toAddress: '+14155552672', body: 'hello' };

describe('without credentials', () => {
  it('a call is refused with what it needs, unary or a stream', async () => {
    const { messages } = peer();
    expect(await failure(messages.listMessages({}))).toMatchObject({
      code: 'Unauthenticated',
      reason: 'CREDENTIALS_INVALID',
      message: 'the call has no credentials: it needs a token in the header "authorization: Bearer …" or a client certificate',
      metadata: { problem: 'missing' },
    });
    const [next] = [messages.watchMessages({})[Symbol.asyncIterator]().next()];
    expect(await problemOf(next)).toEqual(refusedAs('missing'));
  });

  it('health answers', async () => {
    const { health } = peer();
    expect((await health.check({})).status).toBeDefined();
  });

  it('reflection does not, since it tells of every method', async () => {
    const { reflection } = peer();
    const ask = (async function* () {
      yield { host: '', messageRequest: { case: 'listServices', value: '' } } as const;
    })();
    expect(await problemOf(reflection.serverReflectionInfo(ask)[Symbol.asyncIterator]().next())).toEqual(refusedAs('missing'));
  });
});

describe('a client certificate', () => {
  it('names the caller: what it sends is its own, and its request ids are apart from those of others', async () => {
    const requestId = '018f3e6a-0000-7000-8000-00000000c0de';
    const billing = peer(await authority.issue({ cn: 'x', dns: ['billing'] }));
    const first = await billing.messages.sendMessage({ requestId, message: draft });
    expect(first.message?.createdBy).toBe('billing');
    const again = await billing.messages.sendMessage({ requestId, message: draft });
    expect(again.message?.id).toBe(first.message?.id);
    const other = await peer().messages.sendMessage({ requestId, message: draft }, bearer(await issuer.token({ sub: 'shop' })));
    expect(other.message?.id).not.toBe(first.message?.id);
    expect(other.message?.createdBy).toBe('shop');
  });

  it('has the roles of its name, and no others', async () => {
    const billing = peer(await authority.issue({ cn: 'billing' }));
    const ops = peer(await authority.issue({ cn: 'x', uris: ['spiffe://corp/ops'], dns: ['billing'] }));
    const edge = peer(await authority.issue({ cn: 'x', dns: ['edge'] }));
    const unlisted = peer(await authority.issue({ cn: 'stranger' }));
    expect(await failure(billing.cache.getCacheStatistics({}))).toMatchObject({
      code: 'PermissionDenied',
      reason: 'PERMISSION_MISSING',
      message: 'messaging.v1.CacheService/GetCacheStatistics needs the role operator; billing has caller',
      metadata: { permission: 'operator' },
    });
    expect((await ops.messages.listMessages({})).messages).toBeInstanceOf(Array);
    expect(await problemOf(ops.messages.sendMessage({ message: draft }))).toEqual(['PermissionDenied', 'PERMISSION_MISSING', 'caller']);
    expect(await problemOf(edge.messages.listMessages({}))).toEqual(['PermissionDenied', 'PERMISSION_MISSING', 'caller,operator']);
    expect(
      await problemOf(
        edge.events.reportDelivery({
          provider: 1,
          providerEventId: 'e',
          providerStatus: 'sent',
          messageId: '018f3e6a-0000-7000-8000-000000000001',
        }),
      ),
    ).toEqual(['NotFound', 'MESSAGE_NOT_FOUND', undefined]);
    expect((await failure(unlisted.messages.listMessages({}))).message).toBe(
      'messaging.v1.MessageService/ListMessages needs the role caller or operator; stranger has no role',
    );
  });

  it('of another authority, or out of date, is refused, also when its session is resumed', async () => {
    using stranger = await createTestAuthority();
    const day = 86_400_000;
    const past = { from: new Date(Date.now() - 3 * day), to: new Date(Date.now() - 2 * day) };
    const pairs = [await stranger.issue({ cn: 'billing' }), await authority.issue({ cn: 'billing' }, past)];
    for (const pair of pairs) {
      expect(await problemOf(peer(pair).messages.listMessages({}))).toEqual(refusedAs('certificate_untrusted'));
      const tickets: Buffer[] = [];
      const options = {
        port: world.app.grpcPort,
        host: 'localhost',
        servername: 'localhost',
        ca: authority.ca,
        ALPNProtocols: ['h2'],
        ...pair,
      };
      const first = connectTls(options);
      first
        .on('session', (session) => tickets.push(session))
        .on('error', () => undefined)
        .resume();
      await until('a session to resume', () => tickets.length > 0);
      first.destroy();
      const [session] = tickets;
      let reused = false;
      await using raw = await connectRaw(world.url, {
        createConnection: () => {
          const socket = connectTls({ ...options, ...(session === undefined ? {} : { session }) });
          socket.on('secureConnect', () => {
            reused = socket.isSessionReused();
          });
          return socket;
        },
      });
      const answer = await raw.call({
        path: '/messaging.v1.MessageService/ListMessages',
        headers: { 'content-type': 'application/grpc', te: 'trailers' },
        body: frame(new Uint8Array()),
      });
      expect(reused).toBe(true);
      expect(failureIn(answer).metadata).toEqual({ problem: 'certificate_untrusted' });
    }
  });

  it('that expires while the connection is open names nobody any more, and ends its streams', async () => {
    const soon = { from: new Date(Date.now() - 60_000), to: new Date(Math.ceil(Date.now() / 1_000) * 1_000 + 3_000) };
    const { messages } = peer(await authority.issue({ cn: 'billing' }, soon));
    const watch = messages.watchMessages({})[Symbol.asyncIterator]();
    expect((await watch.next()).done).toBe(false);
    const drain = async () => {
      while (!(await watch.next()).done);
    };
    expect(await problemOf(drain())).toEqual(refusedAs('expired'));
    await until('it is refused', async () => (await problemOf(messages.listMessages({})))[2]?.startsWith('certificate_') === true);
  });
});

describe('a token', () => {
  it('names the caller and its roles, once it is checked', async () => {
    const { messages, cache } = peer();
    const token = bearer(await issuer.token({ roles: ['operator'] }));
    expect((await messages.listMessages({}, token)).messages).toBeInstanceOf(Array);
    expect(await problemOf(messages.sendMessage({ message: draft }, token))).toEqual(['PermissionDenied', 'PERMISSION_MISSING', 'caller']);
    // There is no cache in this process, which it says to those who may ask.
    expect(await problemOf(cache.getCacheStatistics({}, token))).toEqual(['FailedPrecondition', 'CACHE_OFF', undefined]);
  });

  it('counts before the certificate of the connection, also when it is bad', async () => {
    const { messages } = peer(await authority.issue({ cn: 'billing' }));
    const { message } = await messages.sendMessage({ message: draft }, bearer(await issuer.token({ sub: 'shop' })));
    expect(message?.createdBy).toBe('shop');
    expect(await problemOf(messages.listMessages({}, bearer('nonsense')))).toEqual(refusedAs('token_malformed'));
  });

  it('that has expired is refused, and ends the streams that it opened; they go on with a new one', async () => {
    const { messages } = peer();
    expect(await problemOf(messages.listMessages({}, bearer(await issuer.token({ exp: Math.floor(Date.now() / 1_000) - 1 }))))).toEqual(
      refusedAs('token_expired'),
    );
    const short = bearer(await issuer.token({ exp: Math.floor(Date.now() / 1_000) + 2 }));
    const watch = messages.watchMessages({}, short)[Symbol.asyncIterator]();
    const first = await watch.next();
    let resumeToken = first.value?.resumeToken ?? '';
    const drain = async () => {
      for (let next = await watch.next(); next.done !== true; next = await watch.next()) resumeToken = next.value.resumeToken;
    };
    expect(await problemOf(drain())).toEqual(refusedAs('expired'));
    const { message } = await messages.sendMessage({ message: draft }, bearer(await issuer.token()));
    for await (const { payload } of messages.watchMessages({ resumeToken }, bearer(await issuer.token({ jti: '2' })))) {
      if (payload.case === 'change' && payload.value.message?.id === message?.id) break;
    }
  });

  it('that is refused is told so, however many calls of a connection are refused at once', async () => {
    await using raw = await connectRaw(world.url, { ca: authority.ca });
    // One has to be checked each time, the other is known: answers come while others are being written.
    const tokens = [await issuer.token({ aud: 'nobody' }), await issuer.token({ roles: [] })];
    const statuses: unknown[] = [];
    const caller = async (): Promise<void> => {
      for (let count = 0; count < 25; count += 1) {
        const authorization = `Bearer ${tokens[(statuses.length + count) % 2]}`;
        const headers = { 'content-type': 'application/grpc', authorization };
        const path = '/messaging.v1.MessageService/GetMessage';
        const { headers: answer, rstCode } = await raw.call({ path, headers, body: frame(Buffer.from('nothing')) });
        statuses.push(answer['grpc-status'] ?? `reset with ${rstCode} and no answer`);
      }
    };
    await Promise.all(Array.from({ length: 16 }, caller));
    expect(new Set(statuses)).toEqual(new Set(['16', '7']));
  });

  it('is not in the log, whatever became of it', async () => {
    const { messages } = peer();
    const tokens = [await issuer.token({ sub: 'canary' }), await issuer.token({ sub: 'canary', aud: 'nobody' }), 'not.a.token'];
    for (const token of tokens) await messages.getMessage({ id: '42' }, bearer(token)).catch(() => undefined);
    const log = JSON.stringify(world.app.logLines());
    for (const part of tokens.flatMap((token) => token.split('.')).filter((text) => text.length > 5)) expect(log).not.toContain(part);
  });
});
