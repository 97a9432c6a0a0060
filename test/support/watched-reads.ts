/** Two replicas of the service over one database and one Redis, and readers that would notice a stale answer. */
import { setImmediate as breathe } from 'node:timers/promises';
import { expect } from 'vitest';
import { startTestApp, type TestApp } from './apps.ts';
import { patiently } from './cached-service.ts';
import { type Calls, callsTo } from './calls.ts';
import { createDatabase } from './database.ts';
import { scrape } from './scrape.ts';

export interface Replicas extends AsyncDisposable {
  /** All of its settings. */
  readonly env: Readonly<Record<string, string>>;
  readonly apps: readonly [TestApp, TestApp];
  /** To the first and to the second. */
  readonly calls: readonly [Calls, Calls];
  /** Of a metric, over both. */
  sum(metric: string): Promise<number>;
}

export async function startReplicas(redisEnv: Readonly<Record<string, string>>): Promise<Replicas> {
  await using opening = new AsyncDisposableStack();
  const database = opening.use(await createDatabase());
  const env = { DATABASE_URL: database.url, REDIS_COMMAND_TIMEOUT_MS: '200', ...redisEnv };
  const apps = [opening.use(await startTestApp(env)), opening.use(await startTestApp(env))] as const;
  const opened = opening.move();
  return {
    env,
    apps,
    calls: [callsTo(apps[0]), callsTo(apps[1])],
    async sum(metric) {
      const values = await Promise.all(apps.map(async (app) => (await scrape(app)).sum(metric)));
      return values.reduce((total, value) => total + value, 0);
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

let phone = 2_000;
/** A number that no other message of this file is sent to, and so a new conversation. */
export function newPhone(): string {
  phone += 1;
  return `+1415555${phone}`;
}

export interface WatchedReads extends AsyncDisposable {
  /** Changes all of the conversations, half of them through the one replica and half through the other. */
  write(): Promise<void>;
  /** Resolves when both replicas answer from there, whichever of the conversations is asked for. */
  untilAll(source: 'hit' | 'bypass'): Promise<void>;
  /** Answers from Redis so far. */
  hits(): number;
  /** Answers older than a write that was acknowledged before the question, since the beginning. */
  stale(): readonly string[];
}

/** Reads these conversations through both replicas without a pause. Disposal throws when a read has failed. */
export function watchReads({ calls }: Pick<Replicas, 'calls'>, ids: readonly string[]): WatchedReads {
  const acknowledged = new Map<string, number>();
  const stale: string[] = [];
  let running = true;
  let last = 0;
  let hits = 0;
  const read = async (reader: Calls, id: string): Promise<string> => {
    const atLeast = acknowledged.get(id) ?? 0;
    const { conversation, source } = await reader.readConversation(id);
    if (source === 'hit') hits += 1;
    if (Number(conversation.title) < atLeast) stale.push(`${source}: ${conversation.title} after ${atLeast} of ${id}`);
    return source;
  };
  const readOn = async (reader: Calls, id: string): Promise<void> => {
    while (running) {
      await read(reader, id);
      await breathe();
    }
  };
  const readers = Promise.all(calls.flatMap((reader) => ids.map((id) => readOn(reader, id))));
  // Told by disposal.
  readers.catch(() => {});
  return {
    async write() {
      last += 1;
      const number = last;
      const writeOne = async (id: string, index: number): Promise<void> => {
        const [writer, title] = [index % 2 === 0 ? calls[0] : calls[1], String(number)];
        await writer.conversations.updateConversation({ conversation: { id, title } });
        acknowledged.set(id, number);
      };
      await Promise.all(ids.map(writeOne));
    },
    async untilAll(source) {
      const sources = async () => new Set(await Promise.all(calls.flatMap((reader) => ids.map((id) => read(reader, id)))));
      await expect.poll(sources, patiently).toEqual(new Set([source]));
    },
    hits: () => hits,
    stale: () => stale,
    async [Symbol.asyncDispose]() {
      running = false;
      await readers;
    },
  };
}
