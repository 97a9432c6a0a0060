/** What becomes of a call that is not let in, and how the client package brings credentials and tells of their refusal. */
import { create, toBinary } from '@bufbuild/protobuf';
import { Code } from '@connectrpc/connect';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SendMessageRequestSchema } from '../../gen/messaging/v1/message_service_pb.js';
import { createMessagingClient, MessagingError } from '../../src/client/messaging-client.ts';
import type { TestAuthority } from '../support/certificate-files.ts';
import { bearer, type IdentityWorld, startIdentityWorld } from '../support/identity-world.ts';
import { connectRaw, failureIn, frame } from '../support/raw-calls.ts';
import type { Issuer } from '../support/token-issuer.ts';

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

describe('a refused call', () => {
  const path = '/messaging.v1.MessageService/SendMessage';
  const types = ['application/grpc', 'application/grpc+json', 'application/grpc-web+proto', 'application/proto', 'application/json'];

  it.each(types)('is answered before its body has come, as %s', async (type) => {
    await using raw = await connectRaw(world.url, { ca: authority.ca });
    const headers = { 'content-type': type, te: 'trailers' };
    const call = raw.open({ path, headers, endless: true });
    expect(failureIn(await call.ended)).toMatchObject({ code: 'Unauthenticated', metadata: { problem: 'missing' } });
  });

  it('never reaches its handler, though its body is whole', async () => {
    await using raw = await connectRaw(world.url, { ca: authority.ca });
    const request = toBinary(SendMessageRequestSchema, create(SendMessageRequestSchema, { message: { ...draft, body: 'never' } }));
    const headers = { 'content-type': 'application/grpc', te: 'trailers', authorization: 'Bearer a.b.c' };
    const answers = await Promise.all(Array.from({ length: 20 }, () => raw.call({ path, headers, body: frame(request) })));
    for (const answer of answers) expect(failureIn(answer).metadata).toEqual({ problem: 'token_malformed' });
    const { messages } = await peer().messages.listMessages({}, bearer(await issuer.token()));
    expect(messages.map(({ body }) => body)).not.toContain('never');
  });

  it('is counted under its code', async () => {
    const gateway = bearer(await issuer.token({ roles: ['gateway'] }));
    for (const options of [gateway, {}])
      await peer()
        .messages.listMessages({}, options)
        .catch(() => undefined);
    const text = await (await fetch(`http://127.0.0.1:${world.app.httpPort}/metrics`)).text();
    expect(text).toMatch(/grpc_server_handled_total\{[^}]*grpc_code="UNAUTHENTICATED"[^}]*\} [1-9]/);
    expect(text).toMatch(/grpc_server_handled_total\{[^}]*grpc_code="PERMISSION_DENIED"[^}]*\} [1-9]/);
    expect(text).not.toContain('billing');
  });
});

describe('the client package', () => {
  const address = () => `localhost:${world.app.grpcPort}`;
  const slow = { deadlineMs: 20_000 };

  it('calls in the name of its certificate, or of its token', async () => {
    const { cert, key } = await authority.issue({ cn: 'billing' });
    const ca = Buffer.from(authority.ca);
    using certified = createMessagingClient(address(), { tls: { ca, cert: Buffer.from(cert), key: Buffer.from(key) } });
    expect((await certified.messages.sendMessage({ message: draft }, slow)).message?.createdBy).toBe('billing');
    using fixed = createMessagingClient(address(), { tls: { ca }, token: await issuer.token({ sub: 'shop' }) });
    expect((await fixed.messages.sendMessage({ message: draft }, slow)).message?.createdBy).toBe('shop');
    let asked = 0;
    const token = async () => issuer.token({ sub: `shop-${++asked}` });
    using provided = createMessagingClient(address(), { tls: { ca }, token });
    expect((await provided.messages.sendMessage({ message: draft }, slow)).message?.createdBy).toBe('shop-1');
    for await (const _ of provided.messages.watchMessages({})) break;
    expect((await provided.messages.sendMessage({ message: draft }, slow)).message?.createdBy).toBe('shop-3');
  });

  it('tells why it was refused, and that its source of tokens failed', async () => {
    const ca = Buffer.from(authority.ca);
    using nobody = createMessagingClient(address(), { tls: { ca } });
    await expect(nobody.messages.listMessages({}, slow)).rejects.toMatchObject({
      code: Code.Unauthenticated,
      reason: 'CREDENTIALS_INVALID',
      metadata: { problem: 'missing' },
    });
    using broken = createMessagingClient(address(), { tls: { ca }, token: () => Promise.reject(new Error('no issuer')) });
    await expect(broken.messages.listMessages({}, slow)).rejects.toThrow(MessagingError);
    await expect(broken.messages.listMessages({}, slow)).rejects.toMatchObject({
      code: Code.Unauthenticated,
      reason: '',
      cause: new Error('no issuer'),
    });
  });
});
