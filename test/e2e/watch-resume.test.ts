/** Watchers that are cut off again and again while others write, and go on in this process or another: nothing is lost, nothing out of order. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MessageType, Provider } from '../../gen/messaging/v1/message_pb.js';
import { startTestApp } from '../support/apps.ts';
import { type Calls, callsTo, failureOf } from '../support/calls.ts';
import { createDatabase } from '../support/database.ts';
import { between, pick, type Random, seededRandom } from '../support/seeded-random.ts';
import { follow } from '../support/watchers.ts';

const opened = new AsyncDisposableStack();
let databaseUrl: string;
let replicas: readonly Calls[];
beforeAll(async () => {
  databaseUrl = opened.use(await createDatabase()).url;
  const apps = [await startTestApp({ DATABASE_URL: databaseUrl }), await startTestApp({ DATABASE_URL: databaseUrl })];
  for (const app of apps) opened.use(app);
  replicas = apps.map(callsTo);
});
afterAll(() => opened.disposeAsync());

const from = '+14155552671';
const WRITERS = 4;
const WRITES = 30;

/** What a watcher was told: sequence numbers by conversation, in the order in which they came. */
type Told = Map<string, number[]>;

async function write(random: Random, addresses: readonly string[]): Promise<void> {
  for (let count = 0; count < WRITES; count += 1) {
    const { messages, providerEvents } = pick(random, replicas);
    const sms = () => ({ message: { fromAddress: from, toAddress: pick(random, addresses), body: 'x', messageType: MessageType.SMS } });
    const { responses } = await messages.batchSendMessages({ requests: Array.from({ length: between(random, 1, 3) }, sms) });
    const messageId = responses[0]?.message?.id ?? '';
    if (random() < 0.5) {
      await providerEvents.reportDelivery({
        provider: Provider.TWILIO,
        providerEventId: randomUUID(),
        messageId,
        providerStatus: pick(random, ['sent', 'delivered', 'failed']),
      });
    }
  }
}

/** Follows the messages until `isOver`, cut off after so many items at random. */
async function watch(random: Random, filter: { readonly conversationIds: string[] }, isDone: (told: Told) => boolean): Promise<Told> {
  const told: Told = new Map();
  let resumeToken = '';
  for (let streams = 0; streams < 10_000; streams += 1) {
    const { messages } = pick(random, replicas);
    const leaving = new AbortController();
    const cut = between(random, 1, 40);
    let items = 0;
    try {
      const request = { filter, resumeToken, progressInterval: { seconds: 1n } };
      for await (const item of messages.watchMessages(request, { signal: leaving.signal })) {
        resumeToken = item.resumeToken;
        if (item.payload.case === 'change') {
          const { message, event } = item.payload.value;
          const id = message?.conversationId ?? '';
          told.set(id, [...(told.get(id) ?? []), Number(event?.sequence)]);
        }
        items += 1;
        if (items === cut || isDone(told)) leaving.abort();
      }
    } catch (error) {
      if (!leaving.signal.aborted) throw error;
    }
    if (isDone(told)) return told;
  }
  throw new Error('it is not told everything');
}

describe('watchers that are cut off', () => {
  it.each([1, 2, 3])('are told everything once and in order, seed %i', async (seed) => {
    const random = seededRandom(seed);
    const addresses = Array.from({ length: 5 }, (_, index) => `+1415555${4_000 + 10 * seed + index}`);
    const [{ conversations, messages }] = replicas as [Calls];
    const ids = await Promise.all(
      addresses.map(async (participantTo) => {
        const request = { participantFrom: from, participantTo, channelType: MessageType.SMS };
        return (await conversations.createConversation(request)).conversation?.id ?? '';
      }),
    );
    let last: ReadonlyMap<string, number> | undefined;
    const isDone = (told: Told): boolean => last !== undefined && [...last].every(([id, sequence]) => told.get(id)?.at(-1) === sequence);
    // A watcher that begins now is told everything from the first message on.
    await using probe = follow((signal) => messages.watchMessages({}, { signal }));
    await probe.sees('that it has begun', (items) => items.length > 0);
    const watching = Array.from({ length: 6 }, () => watch(random, { conversationIds: ids }, isDone));
    await Promise.all(Array.from({ length: WRITERS }, () => write(random, addresses)));
    const { conversations: rows } = await conversations.batchGetConversations({ ids });
    last = new Map(rows.map(({ id, lastSequence }) => [id, Number(lastSequence)]));
    for (const told of await Promise.all(watching)) {
      for (const [id, sequence] of last) {
        const first = told.get(id)?.[0] ?? 1;
        expect(told.get(id)).toEqual(Array.from({ length: sequence - first + 1 }, (_, index) => first + index));
      }
    }
  });
});

describe('a resume token', () => {
  const messages = () => (replicas[0] as Calls).messages;
  const conversations = () => (replicas[0] as Calls).conversations;
  async function tokenOf(filter: { readonly address?: string } = {}): Promise<string> {
    await using watcher = follow((signal) => messages().watchMessages({ filter }, { signal }));
    await watcher.sees('a token', (items) => items.length > 0);
    return watcher.token();
  }
  const decoded = (token: string) => Buffer.from(token, 'base64url').toString().split(' ');
  const encoded = (parts: readonly string[]) => Buffer.from(parts.join(' ')).toString('base64url');
  const refusal = (call: AsyncIterable<unknown>) => failureOf(Array.fromAsync(call));
  const invalid = { code: 'InvalidArgument', reason: 'RESUME_TOKEN_INVALID' };

  it('is good for its filter and its method alone', async () => {
    const resumeToken = await tokenOf({ address: '+14155554999' });
    expect(await refusal(messages().watchMessages({ resumeToken }))).toMatchObject(invalid);
    expect(await refusal(conversations().watchConversations({ resumeToken }))).toMatchObject(invalid);
  });

  it('is refused when it was not made here', async () => {
    const [version = '', digest = '', database = '', timeline = '', frontier = '', position = ''] = decoded(await tokenOf());
    const place = [version, digest, database, timeline];
    const forged = [
      ['nonsense'],
      [...place, frontier],
      [...place, '-1', position],
      [...place, '9'.repeat(19), position],
      [...place, frontier, position, 'key'],
      [...place, frontier, position, 'key', randomUUID()],
      // In the future, so from a database that is ahead of this one.
      [...place, String(10n ** 17n), position],
      [version, digest, '1.1', timeline, frontier, position],
    ];
    for (const parts of forged) {
      expect(await refusal(messages().watchMessages({ resumeToken: encoded(parts) }))).toMatchObject(invalid);
    }
  });

  it('is of no use after a failover that lost its place', async () => {
    const [version = '', digest = '', database = ''] = decoded(await tokenOf());
    const resumeToken = encoded([version, digest, database, 'FFFFFFFF', '3', '987654321']);
    const refused = await refusal(messages().watchMessages({ resumeToken }));
    expect(refused).toMatchObject({ code: 'OutOfRange', reason: 'RESUME_TOKEN_EXPIRED' });
    expect(refused.message).toContain('include_initial_state');
  });

  it('says nothing to those who look into it', async () => {
    expect(decoded(await tokenOf({ address: '+14155554999' })).join(' ')).not.toContain('4999');
  });
});
