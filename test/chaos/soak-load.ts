/** The traffic of a soak: what services ask of this one, in the shares in which they do, over connections that come and go. */
import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { createMessagingClient, type MessagingClient, MessagingError, status } from '../../src/client/messaging-client.ts';
import { between, type Random, seededRandom, seedOf } from '../support/seeded-random.ts';

export interface SoakLoad {
  readonly calls: number;
  readonly failed: number;
  /** Of the first failure. */
  readonly failure: string;
  readonly watched: number;
  readonly connections: number;
}

interface LoadOptions {
  readonly address: string;
  readonly seed: number;
  readonly ms: number;
  /** undefined: as fast as it is answered. */
  readonly perSecond?: number;
}

const CALLERS = 16;
/** Calls of one connection, about, before another one takes its place. */
const CALLS_PER_CONNECTION = 2_000;
const WATCHERS = 20;
/** A watcher leaves after about this long, and another one comes. */
const WATCH_MS = 10_000;
/** Of messages that are read again and again; the rest is forgotten. */
const REMEMBERED = 2_000;
const CONVERSATIONS = 500;

/** Shares of the calls; what is left of 1 are messages that are sent. */
const SHARES = { getMessage: 0.72, getConversation: 0.12, batchGet: 0.04, list: 0.04, read: 0.02, missing: 0.02 } as const;

interface Sent {
  readonly id: string;
  readonly conversationId: string;
}

async function getMissing({ messages }: MessagingClient): Promise<void> {
  try {
    await messages.getMessage({ id: randomUUID() });
  } catch (error) {
    if (error instanceof MessagingError && error.code === status.NOT_FOUND) return;
    throw error;
  }
  throw new Error('a message was found that nobody has sent');
}

class Traffic {
  calls = 0;
  failed = 0;
  failure = '';
  watched = 0;
  connections = 0;
  readonly #sent: Sent[] = [];
  readonly #address: string;

  constructor(address: string) {
    this.#address = address;
  }

  connect(): MessagingClient {
    this.connections += 1;
    return createMessagingClient(this.#address);
  }

  fail(error: unknown): void {
    this.failed += 1;
    this.failure ||= String(error);
  }

  #remember(message: Sent, random: Random): void {
    if (this.#sent.length < REMEMBERED) this.#sent.push(message);
    else this.#sent[Math.floor(random() * REMEMBERED)] = message;
  }

  async #send({ messages }: MessagingClient, random: Random): Promise<void> {
    const number = Math.floor(random() * CONVERSATIONS);
    const draft = { fromAddress: '+14155552671', toAddress: `+1212${2_000_000 + number}`, body: 'x'.repeat(between(random, 10, 1_000)) };
    const { message } = await messages.sendMessage({ message: draft, requestId: randomUUID() });
    if (message !== undefined) this.#remember({ id: message.id, conversationId: message.conversationId }, random);
  }

  async #ask(client: MessagingClient, random: Random): Promise<void> {
    const { messages, conversations } = client;
    // The first ones are asked for most.
    const known = this.#sent[Math.floor(random() ** 3 * this.#sent.length)];
    if (known === undefined) return this.#send(client, random);
    const { id, conversationId } = known;
    const steps: readonly (readonly [number, () => Promise<unknown>])[] = [
      [SHARES.getMessage, () => messages.getMessage({ id })],
      [SHARES.getConversation, () => conversations.getConversation({ id: conversationId })],
      [SHARES.batchGet, () => messages.batchGetMessages({ ids: [...new Set(this.#sent.slice(0, 50).map((sent) => sent.id))] })],
      [SHARES.list, () => messages.listMessages({ filter: { conversationIds: [conversationId] }, pageSize: 20 })],
      [SHARES.read, () => conversations.markConversationRead({ id: conversationId, throughMessageId: id })],
      [SHARES.missing, () => getMissing(client)],
    ];
    let left = random();
    for (const [share, step] of steps) {
      left -= share;
      if (left < 0) return void (await step());
    }
    return this.#send(client, random);
  }

  async call(client: MessagingClient, random: Random): Promise<void> {
    this.calls += 1;
    try {
      await this.#ask(client, random);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Watches, leaves, and watches again, until the signal. */
  async watch(random: Random, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      using client = this.connect();
      const until = AbortSignal.any([signal, AbortSignal.timeout(between(random, WATCH_MS / 2, WATCH_MS * 2))]);
      try {
        for await (const _told of client.messages.watchMessages({}, { signal: until })) this.watched += 1;
      } catch (error) {
        if (!until.aborted) this.fail(error);
      }
    }
  }
}

export async function soak({ address, seed, ms, perSecond }: LoadOptions): Promise<SoakLoad> {
  const traffic = new Traffic(address);
  const over = new AbortController();
  const startedMs = performance.now();
  let begun = 0;

  async function call(index: number): Promise<void> {
    const random = seededRandom(seedOf(seed, 'caller', index));
    let client = traffic.connect();
    let callsLeft = between(random, 1, CALLS_PER_CONNECTION * 2);
    while (performance.now() - startedMs < ms) {
      if (perSecond !== undefined) {
        const dueMs = startedMs + (begun * 1_000) / perSecond;
        begun += 1;
        const waitMs = dueMs - performance.now();
        if (waitMs > 0) await wait(waitMs);
      }
      await traffic.call(client, random);
      callsLeft -= 1;
      if (callsLeft > 0) continue;
      client.close();
      client = traffic.connect();
      callsLeft = between(random, 1, CALLS_PER_CONNECTION * 2);
    }
    client.close();
  }

  const watchers = Array.from({ length: WATCHERS }, (_, index) => traffic.watch(seededRandom(seedOf(seed, 'watcher', index)), over.signal));
  await Promise.all(Array.from({ length: CALLERS }, (_, index) => call(index)));
  over.abort();
  await Promise.all(watchers);
  const { calls, failed, failure, watched, connections } = traffic;
  return { calls, failed, failure, watched, connections };
}
