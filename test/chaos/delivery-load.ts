/** Callers that send until they are told that their message was accepted. */
import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { type MessagingClient, MessagingError, status } from '../../src/client/messaging-client.ts';
import { between, type Random, seededRandom, seedOf } from '../support/seeded-random.ts';

export interface LoadOptions {
  readonly clients: readonly MessagingClient[];
  readonly messages: number;
  readonly seed: number;
  /** Messages per second, all callers together; they wait when they are faster. */
  readonly perSecond: number;
}

export interface Load {
  /** Ids of the messages that were accepted, in no particular order. */
  readonly acknowledged: readonly string[];
  /** Calls that had to be made again. */
  readonly repeated: number;
}

const CALLERS = 8;
const RETRY_MS = 100;
/** Of a call that never succeeds. */
const MAX_TRIES = 600;
/** One in so many is an email. */
const EMAIL_SHARE = 0.2;
/** Messages per conversation, on average. */
const PER_CONVERSATION = 4;

function draftOf(random: Random, conversations: number) {
  const number = Math.floor(random() * conversations);
  if (random() < EMAIL_SHARE) {
    return {
      fromAddress: 'shop@example.com',
      toAddress: `guest${number}@example.org`,
      body: `Order ${number} is on its way.`,
      email: { subject: 'Your order' },
    };
  }
  return { fromAddress: '+14155552671', toAddress: `+1212${2_000_000 + number}`, body: `Order ${number} is on its way.` };
}

const isPassing = (error: unknown): boolean =>
  error instanceof MessagingError && [status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.CANCELLED, status.UNKNOWN].includes(error.code);

export async function sendAll({ clients, messages, seed, perSecond }: LoadOptions): Promise<Load> {
  const acknowledged: string[] = [];
  let repeated = 0;
  let begun = 0;
  const startedMs = performance.now();

  async function sendOne(random: Random): Promise<void> {
    const message = draftOf(random, Math.ceil(messages / PER_CONVERSATION));
    const requestId = randomUUID();
    for (let tries = 1; ; tries += 1) {
      const client = clients[Math.floor(random() * clients.length)];
      if (client === undefined) throw new Error('there is no server to send to');
      try {
        const sent = await client.messages.sendMessage({ message, requestId }, { deadlineMs: 5_000 });
        acknowledged.push(sent.message?.id ?? '');
        return;
      } catch (error) {
        if (!isPassing(error) || tries === MAX_TRIES) throw error;
        repeated += 1;
        await wait(between(random, RETRY_MS / 2, RETRY_MS * 2));
      }
    }
  }

  async function call(index: number): Promise<void> {
    const random = seededRandom(seedOf(seed, 'caller', index));
    while (begun < messages) {
      const dueMs = startedMs + (begun * 1_000) / perSecond;
      begun += 1;
      const waitMs = dueMs - performance.now();
      if (waitMs > 0) await wait(waitMs);
      await sendOne(random);
    }
  }

  await Promise.all(Array.from({ length: CALLERS }, (_, index) => call(index)));
  return { acknowledged, repeated };
}
