/** Callers who write, without end, and tell the history what was acknowledged to them. */
import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { Code, ConnectError } from '@connectrpc/connect';
import { MessageType, Provider } from '../../gen/messaging/v1/message_pb.js';
import { between, pick, type Random } from '../support/seeded-random.ts';
import type { ConversationRow, MessageRow } from './population.ts';
import { versionOf } from './readers.ts';
import type { Replica, Serving } from './replica.ts';
import type { World } from './world.ts';

const FROM_ADDRESS = '+14155552671';
/** Between writes of one caller: hot rows are to be written often, not always. */
const MAX_THOUGHT_MS = 20;
const MAX_BURST = 5;
const BREATH_MS = 20;
/** A conversation with more is deleted, and another one begun. */
const MAX_MESSAGES = 12;

const CONVERSATIONS = 40;
const MESSAGES_EACH = 6;

const outbound = (toAddress: string, body: string) => ({ fromAddress: FROM_ADDRESS, toAddress, body, messageType: MessageType.SMS });

type Writes = Serving['writes'];

let titles = 0;
export const newTitle = (): string => {
  titles += 1;
  return `title ${titles}`;
};

const AREAS = [415, 212, 310, 312, 617, 206, 303, 404];
let addresses = 0;
function newAddress(): string {
  addresses += 1;
  return `+1${AREAS[addresses % AREAS.length]}555${1_000 + (addresses % 9_000)}`;
}

/** Counts the write, and returns when its caller learned of it. */
function acknowledged({ counts, nowMs }: World): number {
  counts.writes += 1;
  return nowMs();
}

export async function rename(world: World, { conversations }: Writes, { id, key }: ConversationRow, title: string): Promise<void> {
  const { history } = world;
  const { conversation } = await conversations.updateConversation({ conversation: { id, title } });
  const atMs = acknowledged(world);
  if (conversation !== undefined) history.acknowledged(key, versionOf(conversation), atMs);
  history.acknowledgedSome(key, atMs);
}

/** Takes it from PENDING to FAILED or back. */
async function turn(world: World, writes: Writes, row: MessageRow, random: Random): Promise<void> {
  const { history } = world;
  const { id, conversation } = row;
  const failed = { provider: Provider.TWILIO, providerStatus: 'failed', providerCode: '30003', messageId: id };
  const change = async () => {
    if (row.failed) return writes.messages.retryMessage({ id, force: true });
    if (random() < 0.5) return writes.messages.cancelMessage({ id });
    return writes.providerEvents.reportDelivery({ ...failed, providerEventId: randomUUID(), providerMessageId: randomUUID() });
  };
  const wasFailed = row.failed;
  try {
    const { message } = await change();
    const atMs = acknowledged(world);
    if (message !== undefined) history.acknowledged(row.key, versionOf(message), atMs);
    history.acknowledgedSome(conversation.key, atMs);
  } finally {
    // Also when it was refused: somebody else was faster.
    row.failed = !wasFailed;
  }
}

async function send(world: World, { messages }: Writes, to: ConversationRow): Promise<void> {
  const { history, population } = world;
  const { epoch } = population;
  const { message } = await messages.sendMessage({ message: { ...outbound(to.toAddress, newTitle()), conversationId: to.id } });
  const atMs = acknowledged(world);
  history.acknowledgedSome(to.key, atMs);
  if (message === undefined || epoch !== population.epoch) return;
  const row = population.addMessage(to, message.id);
  if (row !== undefined) history.acknowledged(row.key, versionOf(message), atMs);
}

/** Deletes one conversation and begins another. */
async function replace(world: World, writes: Writes, conversation: ConversationRow): Promise<void> {
  const { history, population } = world;
  const rows = population.doom(conversation);
  for (const { key } of rows) history.deletionBegan(key);
  await writes.conversations.deleteConversation({ id: conversation.id });
  const atMs = acknowledged(world);
  for (const { key } of rows) history.deleted(key, atMs);
  await begin(world, writes, conversation.toAddress);
}

async function begin(world: World, { messages }: Writes, toAddress: string): Promise<void> {
  const { history, population } = world;
  const { epoch } = population;
  const { message } = await messages.sendMessage({ message: outbound(toAddress, newTitle()) });
  if (message === undefined) return;
  const atMs = acknowledged(world);
  const conversation = population.addConversation(message.conversationId, toAddress);
  history.began(conversation.key, 1, atMs);
  if (epoch !== population.epoch) return;
  const row = population.addMessage(conversation, message.id);
  if (row !== undefined) history.acknowledged(row.key, versionOf(message), atMs);
}

/** Whoever changes a hot row does so several times: the reader of one change meets the next. */
async function inBurst(random: Random, write: () => Promise<void>): Promise<void> {
  for (let left = between(random, 1, MAX_BURST); left > 0; left -= 1) await write();
}

async function writeOnce(world: World, writes: Writes, random: Random): Promise<void> {
  const { population } = world;
  const { conversations, hotConversations, messages, hotMessages } = population;
  const roll = random();
  if (roll < 0.4) {
    const hot = pick(random, hotConversations);
    return inBurst(random, () => rename(world, writes, hot, newTitle()));
  }
  if (roll < 0.7 && hotMessages.length > 0) {
    const hot = pick(random, hotMessages);
    return inBurst(random, () => turn(world, writes, hot, random));
  }
  if (roll < 0.8) return rename(world, writes, pick(random, conversations), newTitle());
  if (roll < 0.9 && messages.length > 0) return turn(world, writes, pick(random, messages), random);
  if (roll < 0.98) {
    const conversation = pick(random, conversations);
    if (conversation.messages.size < MAX_MESSAGES) return send(world, writes, conversation);
  }
  // Where the outcome of a deletion is unknown, nothing has taken its place yet.
  if (conversations.length < CONVERSATIONS) return begin(world, writes, newAddress());
  return replace(world, writes, population.expendable(random));
}

const REFUSALS: ReadonlySet<Code> = new Set([Code.FailedPrecondition, Code.NotFound, Code.AlreadyExists]);

/** Writes through this process until the signal. */
export async function writeOn(world: World, replica: Replica, random: Random, signal: AbortSignal): Promise<void> {
  const { counts } = world;
  while (!signal.aborted) {
    try {
      const { writes } = await replica.serving();
      await writeOnce(world, writes, random);
    } catch (error) {
      if (!(error instanceof ConnectError)) throw error;
      if (REFUSALS.has(error.code)) counts.refusedWrites += 1;
      else {
        counts.unknownWrites += 1;
        if (error.code !== Code.Unavailable) world.note(`a write through ${replica.index} failed: ${error.message}`);
        await wait(BREATH_MS);
      }
    }
    await wait(between(random, 0, MAX_THOUGHT_MS));
  }
}

/** The first rows, made through one process while nobody else does anything. */
export async function populate({ population }: Pick<World, 'population'>, { messages }: Writes): Promise<void> {
  const pairs = Array.from({ length: CONVERSATIONS }, newAddress);
  for (let round = 0; round < MESSAGES_EACH; round += 1) {
    const requests = pairs.map((toAddress) => ({ message: outbound(toAddress, newTitle()) }));
    const { responses } = await messages.batchSendMessages({ requests });
    for (const { message } of responses) {
      if (message === undefined) continue;
      const known = population.conversations.find(({ id }) => id === message.conversationId);
      population.addMessage(known ?? population.addConversation(message.conversationId, message.toAddress), message.id);
    }
  }
}
