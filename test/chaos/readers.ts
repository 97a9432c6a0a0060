/** Callers who read, without end, and tell the history what they were shown. */
import { setTimeout as wait } from 'node:timers/promises';
import { Code, ConnectError } from '@connectrpc/connect';
import { ErrorInfoSchema } from '../../gen/google/rpc/error_details_pb.js';
import { pick, type Random } from '../support/seeded-random.ts';
import type { Seen } from './history.ts';
import { isMessage, type Row } from './population.ts';
import type { Replica, Serving } from './replica.ts';
import { countRead } from './tally.ts';
import type { World } from './world.ts';

/** At most what one call may ask for. */
const BATCH_ROWS = 100;
/** After a failure, so that a dead process is not called all the time. */
const BREATH_MS = 20;

export const versionOf = ({ etag }: { readonly etag: string }): number => Number(etag.slice(1));

function missingIds(error: ConnectError): readonly string[] {
  const [info] = error.findDetails(ErrorInfoSchema);
  return (info?.metadata['ids'] ?? info?.metadata['id'] ?? '').split(',');
}

type Answer = ReadonlyMap<string, Seen>;

/** What the service says of these rows, all of one entity. Rows that it says nothing of are missing. */
export async function ask({ reads }: Pick<Serving, 'reads'>, rows: readonly Row[]): Promise<Answer> {
  const [first] = rows;
  const ids = rows.map(({ id }) => id);
  try {
    if (first === undefined) return new Map();
    const found = isMessage(first) ? await askMessages(reads, ids) : await askConversations(reads, ids);
    return new Map(found.map((row) => [row.id, versionOf(row)]));
  } catch (error) {
    const failure = ConnectError.from(error);
    if (failure.code !== Code.NotFound) throw failure;
    return new Map(missingIds(failure).map((id) => [id, 'absent']));
  }
}

async function askMessages({ messages }: Serving['reads'], ids: readonly string[]) {
  const [id = ''] = ids;
  if (ids.length > 1) return (await messages.batchGetMessages({ ids: [...ids] })).messages;
  const { message } = await messages.getMessage({ id });
  return message === undefined ? [] : [message];
}

async function askConversations({ conversations }: Serving['reads'], ids: readonly string[]) {
  const [id = ''] = ids;
  if (ids.length > 1) return (await conversations.batchGetConversations({ ids: [...ids] })).conversations;
  const { conversation } = await conversations.getConversation({ id });
  return conversation === undefined ? [] : [conversation];
}

/** One hot row, one of any kind, one that was deleted, or many. */
function chooseRows({ population }: World, random: Random): readonly Row[] {
  const { conversations, messages, hotConversations, hotMessages, gone } = population;
  return random() < 0.5 ? chooseOf(conversations, hotConversations, gone, random) : chooseOf(messages, hotMessages, gone, random);
}

function chooseOf(all: readonly Row[], hot: readonly Row[], gone: readonly Row[], random: Random): readonly Row[] {
  const roll = random();
  if (roll < 0.03 && gone.length > 0) return [pick(random, gone)];
  if (roll < 0.33 && hot.length > 0) return [pick(random, hot)];
  if (all.length === 0) return [];
  if (roll < 0.43) return [pick(random, all)];
  const chosen = new Set(hot);
  for (let tries = 0; tries < BATCH_ROWS && chosen.size < BATCH_ROWS; tries += 1) chosen.add(pick(random, all));
  return [...chosen];
}

async function readOnce(world: World, replica: Replica, random: Random): Promise<void> {
  const { history, counts, nowMs } = world;
  const serving = await replica.serving();
  const rows = chooseRows(world, random);
  const invokedMs = nowMs();
  const answer = await ask(serving, rows);
  const returnedMs = nowMs();
  for (const { id, key, hot } of rows) {
    const seen = answer.get(id);
    if (seen === undefined) continue;
    const verdict = history.read(key, seen, invokedMs, returnedMs);
    countRead(counts, hot, verdict);
    if (verdict.stale || verdict.backward) world.note(`${key} shown as ${seen} by ${replica.index}: ${JSON.stringify(verdict)}`);
  }
}

/** Reads through this process until the signal. */
export async function readOn(world: World, replica: Replica, random: Random, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await readOnce(world, replica, random);
    } catch (error) {
      if (!(error instanceof ConnectError)) throw error;
      world.counts.failedReads += 1;
      await wait(BREATH_MS);
    }
  }
}
