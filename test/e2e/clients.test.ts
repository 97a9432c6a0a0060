import { randomBytes, randomUUID } from 'node:crypto';
import type { JsonObject } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { createDatabase } from '../support/database.ts';
import { connectClient, type Outcome, type Peer, peers } from '../support/peers.ts';
import { startService } from '../support/processes.ts';

const { sendMessage, getMessage } = MessageService.method;
const { getConversation, createConversation } = ConversationService.method;

const opened = new AsyncDisposableStack();
let address: string;

beforeAll(async () => {
  const database = opened.use(await createDatabase());
  const redis = inject('redis');
  const cache: Record<string, string> = redis === null ? {} : { REDIS_HOST: redis.host, REDIS_PORT: String(redis.port) };
  const service = opened.use(await startService({ DATABASE_URL: database.url, CACHE_KEY_PREFIX: 'clients:', ...cache }));
  address = `127.0.0.1:${service.grpcPort}`;
});
afterAll(() => opened.disposeAsync());

const sms = (body: string) => ({ fromAddress: '+14155552671', toAddress: '+14155552672', messageType: 'MESSAGE_TYPE_SMS', body });

/** The message of an answer; an error outcome fails the test and shows itself. */
function messageIn(outcome: Outcome): JsonObject {
  expect(outcome).toMatchObject({ ok: true });
  return (outcome as unknown as { response: { message: JsonObject } }).response.message;
}

describe.each(peers)('$name', (peer: Peer) => {
  let missing: string | undefined;
  beforeAll(async () => {
    missing = await peer.missing();
  });

  /** A machine may lack a peer: the test then says which one and counts as skipped. */
  function test(title: string, work: () => Promise<void>): void {
    it(title, async (context) => {
      if (missing !== undefined) context.skip(`missing on this machine: ${missing}`);
      await work();
    });
  }

  test('sends a message and reads it back', async () => {
    const body = 'Grüße, 你好 – 100 % 😀';
    const sent = messageIn(await peer.call(address, sendMessage, { message: sms(body), requestId: randomUUID() }));
    expect(sent).toMatchObject({ body, status: 'MESSAGE_STATUS_PENDING', toAddress: '+14155552672' });
    const read = messageIn(await peer.call(address, getMessage, { id: String(sent['id']) }));
    expect(read).toEqual(sent);
  });

  test('sees what another client wrote', async () => {
    const sent = messageIn(
      await connectClient.call(address, sendMessage, { message: { ...sms('for all'), metaData: { n: 1.5, list: [true] } } }),
    );
    expect(messageIn(await peer.call(address, getMessage, { id: String(sent['id']) }))).toEqual(sent);
    const id = String(sent['conversationId']);
    const conversation = await peer.call(address, getConversation, { id });
    expect(conversation).toMatchObject({ response: { conversation: { id, participantTo: '+14155552672' } } });
  });

  test('sends and reads what is as large as a message may be', async () => {
    const email = { subject: 'large', htmlBody: randomBytes(500_000).toString('hex') };
    const message = { fromAddress: 'us@example.com', toAddress: 'them@example.com', messageType: 'MESSAGE_TYPE_EMAIL', email };
    const sent = messageIn(await peer.call(address, sendMessage, { message: { ...message, body: 'x'.repeat(1_000_000) } }));
    expect(sent['email']).toEqual(email);
    expect(messageIn(await peer.call(address, getMessage, { id: String(sent['id']) }))).toEqual(sent);
  });

  test('is told what does not exist', async () => {
    const id = randomUUID();
    expect(await peer.call(address, getMessage, { id })).toEqual({
      ok: false,
      code: 'NOT_FOUND',
      message: `message ${id} does not exist`,
      reason: 'MESSAGE_NOT_FOUND',
      metadata: { id },
    });
  });

  test('is told which field is wrong, in readable words', async () => {
    const outcome = await peer.call(address, sendMessage, { message: { ...sms('hello'), toAddress: 'nowhere' } });
    expect(outcome).toMatchObject({
      code: 'INVALID_ARGUMENT',
      reason: 'ADDRESS_INVALID',
      metadata: { field: 'message.to_address' },
      message: expect.stringMatching(/^message\.to_address: is not a valid phone number/),
    });
  });

  test('is refused by the rules of the contract', async () => {
    const outcome = await peer.call(address, createConversation, {});
    expect(outcome).toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'FIELD_INVALID' });
  });
});
