/** SQL that somebody types: the service learns of it from PostgreSQL alone. */
import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { pick } from '../support/seeded-random.ts';
import type { ConversationRow, MessageRow, Row } from './population.ts';
import { ask } from './readers.ts';
import type { World } from './world.ts';
import { newTitle } from './writers.ts';

/** Within this time after COMMIT every process must show it. */
const VISIBLE_WITHIN_MS = 200;
/** One statement of so many empties the table. */
const TRUNCATE_SHARE = 0.04;
const MAX_ATTEMPTS = 10;

interface Change {
  readonly rows: readonly Row[];
  /** Returns the new version of the row; undefined when the rows are gone. */
  readonly run: () => Promise<number | undefined>;
}

/** Runs it, and holds every reader to it when the time is over. */
async function typed({ history, counts, nowMs }: World, { rows, run }: Change): Promise<void> {
  const endings = rows.map(({ key }) => history.allowance(key));
  try {
    const version = await run();
    counts.writes += 1;
    await wait(VISIBLE_WITHIN_MS);
    const atMs = nowMs();
    for (const { key } of rows) {
      if (version === undefined) history.deleted(key, atMs);
      else history.acknowledged(key, version, atMs);
    }
  } finally {
    for (const end of endings) end();
  }
}

async function versionFrom({ servers }: World, text: string, values: readonly unknown[]): Promise<number> {
  const { rows } = await servers.sql.query<{ version: number }>(text, [...values]);
  // Nobody else deletes the row meanwhile: it was chosen for that.
  return rows[0]?.version ?? 0;
}

const updateConversation = (world: World, row: ConversationRow): Change => ({
  rows: [row],
  run: () => versionFrom(world, 'update conversations set title = $2 where id = $1 returning version', [row.id, newTitle()]),
});

const updateMessage = (world: World, row: MessageRow): Change => ({
  rows: [row],
  run: () => versionFrom(world, 'update messages set body = $2 where id = $1 returning version', [row.id, newTitle()]),
});

function deleteRow(world: World, row: Row, table: 'messages' | 'conversations'): Change {
  const rows = world.population.doom(row);
  for (const { key } of rows) world.history.deletionBegan(key);
  return {
    rows,
    async run() {
      await world.servers.sql.query(`delete from ${table} where id = $1`, [row.id]);
      return undefined;
    },
  };
}

/** A row that readers have been told does not exist. */
async function insertMessage(world: World, conversation: ConversationRow): Promise<void> {
  const { population, stack } = world;
  const id = randomUUID();
  const row: MessageRow = { id, key: `message:${id}`, hot: false, conversation, failed: false };
  for (const replica of stack.replicas) await ask(await replica.serving(), [row]);
  await typed(world, {
    rows: [row],
    run: () =>
      versionFrom(
        world,
        `insert into messages (id, conversation_id, provider, direction, status, message_type, from_address, to_address, body, sequence)
        values ($1, $2, 'twilio', 'outbound', 'pending', 'sms', '+14155552671', $3, $4, 0) returning version`,
        [id, conversation.id, conversation.toAddress, newTitle()],
      ),
  });
  population.addMessage(conversation, id);
}

function truncate(world: World): Change {
  const { population, history, servers } = world;
  const rows = [...population.messages];
  for (const row of rows) population.doom(row);
  for (const { key } of rows) history.deletionBegan(key);
  return {
    rows,
    async run() {
      population.epoch += 1;
      await untilItIsNoVictim(() => servers.sql.query('truncate messages cascade'));
      population.epoch += 1;
      return undefined;
    },
  };
}

/** It locks tables in another order than the service, and then PostgreSQL may choose it to fail. */
async function untilItIsNoVictim(statement: () => Promise<unknown>): Promise<void> {
  for (let attempts = 1; ; attempts += 1) {
    try {
      await statement();
      return;
    } catch (error) {
      if (attempts === MAX_ATTEMPTS || (error as { readonly code?: string }).code !== '40P01') throw error;
    }
  }
}

/** One statement. Those who type it leave the rows alone that others may be deleting: the hot ones stay. */
export async function typeSql(world: World): Promise<void> {
  const { population, random } = world;
  const { hotConversations, hotMessages } = population;
  const roll = random();
  if (roll < TRUNCATE_SHARE) return typed(world, truncate(world));
  if (roll < 0.3) return insertMessage(world, pick(random, hotConversations));
  if (roll < 0.4) return typed(world, deleteRow(world, population.expendable(random), 'conversations'));
  const victim = [...pick(random, hotConversations).messages].find(({ hot }) => !hot);
  if (roll < 0.5 && victim !== undefined) return typed(world, deleteRow(world, victim, 'messages'));
  if (roll < 0.75 && hotMessages.length > 0) return typed(world, updateMessage(world, pick(random, hotMessages)));
  return typed(world, updateConversation(world, pick(random, hotConversations)));
}
