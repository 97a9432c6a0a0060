import { LockMode } from '@mikro-orm/core';
import type { SqlEntityManager } from '@mikro-orm/postgresql';
import { CompiledQuery, sql } from 'kysely';
import { Conversation, type ConversationFields } from '../domain/conversation.ts';
import type { Outgoing } from '../domain/delivery-ports.ts';
import { DomainError } from '../domain/errors.ts';
import { type Direction, Message, type MessageFields } from '../domain/message.ts';
import { MessageEvent, type MessageEventFields } from '../domain/message-event.ts';
import type { Appended, RequestClaim, RequestKey, Tx } from '../domain/ports.ts';
import { toConversationView, toMessageView } from '../domain/views.ts';
import { deliveryTx, scheduleCall, scheduleValues } from './delivery-tx.ts';
import type { DispatchStatements } from './dispatch-statements.ts';
import { violates } from './errors.ts';
import { PREPARED } from './prepared-statements.ts';
import type { Database, RowReaders, RowWriter, RowWriters, Tables } from './rows.ts';
import { suppressedSince, suppressedSinceValues, suppressionTx } from './suppression-tx.ts';
import { type WebhookTxParts, webhookTx } from './webhook-tx.ts';

type Row = Record<string, unknown>;

const prepared = sql.raw(PREPARED);

const REQUEST_ID_LIFE_DAYS = 7;
const locked = { lockMode: LockMode.PESSIMISTIC_WRITE, refresh: true } as const;

/** Inserts the key, or waits for the transaction that holds it and reports what that one did. */
async function claimRequest(database: Database, key: RequestKey): Promise<RequestClaim> {
  const oldest = new Date(key.at.getTime() - REQUEST_ID_LIFE_DAYS * 86_400_000);
  const claimed = await database
    .insertInto('request_ids')
    .values({
      caller: key.caller,
      request_id: key.requestId,
      content_hash: key.contentHash,
      resource_id: key.resourceId,
      created_at: key.at.toISOString(),
    })
    .onConflict((conflict) =>
      conflict
        .columns(['caller', 'request_id'])
        .doUpdateSet({ content_hash: key.contentHash, resource_id: key.resourceId, created_at: key.at.toISOString() })
        .where('request_ids.created_at', '<', oldest.toISOString()),
    )
    .returning('resource_id')
    .executeTakeFirst();
  if (claimed !== undefined) return { outcome: 'claimed' };
  const held = await database
    .selectFrom('request_ids')
    .select(['content_hash', 'resource_id'])
    .where('caller', '=', key.caller)
    .where('request_id', '=', key.requestId)
    .executeTakeFirstOrThrow();
  return { outcome: held.content_hash === key.contentHash ? 'replay' : 'reused', resourceId: held.resource_id };
}

/** One statement creates or finds the conversation, locks it and counts: two callers cannot both create it. */
async function appendToOpen(database: Database, fresh: ConversationFields, direction: Direction, at: Date): Promise<Appended> {
  const unread = direction === 'inbound' ? 1 : 0;
  const { rows } = await sql<Appended>`
    insert into conversations (id, participant_from, participant_to, from_key, to_key, channel_type, title, meta_data,
      message_count, unread_count, last_sequence, last_message_at, created_at, updated_at)
    values (${fresh.id}, ${fresh.participantFrom}, ${fresh.participantTo}, ${fresh.fromKey}, ${fresh.toKey}, ${fresh.channelType},
      ${fresh.title}, ${JSON.stringify(fresh.metaData)}::jsonb, 1, ${unread}, 1, ${at.toISOString()}, ${at.toISOString()}, ${at.toISOString()})
    on conflict (channel_type, from_key, to_key) where status <> 'closed' and not thread do update set
      message_count = conversations.message_count + 1, unread_count = conversations.unread_count + excluded.unread_count,
      last_sequence = conversations.last_sequence + 1, status = 'active',
      last_message_at = greatest(conversations.last_message_at, excluded.last_message_at)
    returning id as "conversationId", last_sequence as sequence ${prepared}`.execute(database);
  const [appended] = rows;
  if (appended === undefined) throw new Error('the upsert of a conversation returned no row');
  return appended;
}

async function appendToExisting(database: Database, id: string, direction: Direction, at: Date): Promise<Appended | undefined> {
  const { rows } = await sql<Appended>`
    update conversations set message_count = message_count + 1, unread_count = unread_count + ${direction === 'inbound' ? 1 : 0},
      last_sequence = last_sequence + 1, status = 'active', last_message_at = greatest(last_message_at, ${at.toISOString()})
    where id = ${id} and status <> 'closed' returning id as "conversationId", last_sequence as sequence ${prepared}`.execute(database);
  return rows[0];
}

async function nextSequence(database: Database, conversationId: string): Promise<number | undefined> {
  const { rows } = await sql<{ sequence: number }>`
    update conversations set last_sequence = last_sequence + 1 where id = ${conversationId} returning last_sequence as sequence ${prepared}`.execute(
    database,
  );
  return rows[0]?.sequence;
}

const openPair = ({ channelType, fromKey, toKey }: Pick<ConversationFields, 'channelType' | 'fromKey' | 'toKey'>) => ({
  channelType,
  fromKey,
  toKey,
  status: { $ne: 'closed' as const },
  thread: false,
});

/** Rounds of "not there, yet in the way": each means that another transaction closed or created the conversation in between. */
const MAX_ROUNDS = 10;

async function getOrCreateConversation(em: SqlEntityManager, database: Database, fresh: ConversationFields) {
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    const found = await em.findOne(Conversation, openPair(fresh), locked);
    if (found !== null) return { conversation: found, created: false };
    const { rows } = await sql<{ id: string }>`
      insert into conversations (id, participant_from, participant_to, from_key, to_key, channel_type, title, meta_data, created_at, updated_at)
      values (${fresh.id}, ${fresh.participantFrom}, ${fresh.participantTo}, ${fresh.fromKey}, ${fresh.toKey}, ${fresh.channelType},
        ${fresh.title}, ${JSON.stringify(fresh.metaData)}::jsonb, ${fresh.createdAt.toISOString()}, ${fresh.createdAt.toISOString()})
      on conflict (channel_type, from_key, to_key) where status <> 'closed' and not thread do nothing returning id`.execute(database);
    if (rows.length > 0) return { conversation: await em.findOneOrFail(Conversation, fresh.id), created: true };
  }
  throw new DomainError('storage_unavailable', 'the conversation keeps changing; try again');
}

/** Turns the violation of the one-open-conversation index into the error that callers know. */
async function flushed(em: SqlEntityManager): Promise<void> {
  try {
    await em.flush();
  } catch (error) {
    if (!violates(error, 'conversations_open')) throw error;
    throw new DomainError('conversation_exists', 'another open conversation has the same addresses', { cause: error });
  }
}

interface Inserted {
  readonly suppressed_since: number | null;
}

type MessageInsertion = (fields: MessageFields, first: MessageEventFields, outgoing: Outgoing | undefined) => CompiledQuery<Inserted>;

/**
 * A message, its first event and its job in one statement, values bound: the ORM would send two, with the values in their text. It also
 * looks for a suppression: what it sees was committed before it began, which is after the lock on the conversation was had.
 */
export function messageInsertion({ message, event }: RowWriters): MessageInsertion {
  const placesFrom = (start: number, { columns }: RowWriter<never>): string => columns.map((_, index) => `$${start + index}`).join(', ');
  const rows = `with message as (insert into messages (${message.columns.join(', ')}) values (${placesFrom(1, message)}))`;
  const firstEvent = `insert into message_events (${event.columns.join(', ')}) values (${placesFrom(message.columns.length + 1, event)})`;
  const alone = `${rows} ${firstEvent} ${PREPARED}`;
  const [callFrom, since] = [message.columns.length + event.columns.length + 4, message.columns.length + event.columns.length + 1];
  const outgoingAlso = `${rows}, event as (${firstEvent})
    select ${suppressedSince(since)} as suppressed_since from ${scheduleCall(callFrom)} ${PREPARED}`;
  return (fields, first, outgoing) => {
    const values = [...message.values(fields), ...event.values(first)];
    if (outgoing === undefined) return CompiledQuery.raw(alone, values);
    const { theirs, ours } = outgoing.participants;
    const more = [...suppressedSinceValues(theirs.channel, theirs.key, ours.key), ...scheduleValues(outgoing.job)];
    return CompiledQuery.raw(outgoingAlso, [...values, ...more]);
  };
}

export interface TxStatements extends Pick<WebhookTxParts, 'insertWebhook'> {
  readonly readers: RowReaders;
  readonly writers: RowWriters;
  readonly insertMessage: ReturnType<typeof messageInsertion>;
  readonly dispatch: DispatchStatements;
}

export function createTx(em: SqlEntityManager, statements: TxStatements): Tx {
  const { readers, writers, insertMessage, insertWebhook, dispatch } = statements;
  const database: Database = em.getKysely<Tables>();
  return {
    ...deliveryTx(em, database),
    ...dispatch(database),
    ...suppressionTx(database, readers.suppression, writers.suppression),
    ...webhookTx(em, database, { insertWebhook, txOf: (inner) => createTx(inner, statements) }),
    async lockName(name) {
      await sql`select pg_advisory_xact_lock(hashtextextended(${name}, 0))`.execute(database);
    },
    claimRequest: (key) => claimRequest(database, key),
    appendToOpen: (fresh, direction, at) => appendToOpen(database, fresh, direction, at),
    appendToExisting: (conversationId, direction, at) => appendToExisting(database, conversationId, direction, at),
    nextSequence: (conversationId) => nextSequence(database, conversationId),
    findOpenConversation: async (pair) => (await em.findOne(Conversation, openPair(pair))) ?? undefined,
    getOrCreateConversation: (fresh) => getOrCreateConversation(em, database, fresh),
    addConversation: (fresh) => em.create(Conversation, fresh, { persist: true }),
    addMessage: (fields) => em.create(Message, fields, { persist: true }),
    async storeMessage(fields, first, outgoing) {
      const { rows } = await database.executeQuery(insertMessage(fields, first, outgoing));
      const sinceMs = rows[0]?.suppressed_since;
      return sinceMs == null ? undefined : new Date(sinceMs);
    },
    addEvent: (fields) => em.create(MessageEvent, fields, { persist: true }),
    findConversation: async (id) => (await em.findOne(Conversation, id)) ?? undefined,
    lockConversation: async (id) => (await em.findOne(Conversation, id, locked)) ?? undefined,
    findMessage: async (id) => (await em.findOne(Message, id)) ?? undefined,
    lockMessage: async (id) => (await em.findOne(Message, id, locked)) ?? undefined,
    findMessageByProviderId: async (provider, providerMessageId) =>
      (await em.findOne(Message, { provider, providerMessageId })) ?? undefined,
    findEventByProviderId: async (provider, providerEventId) =>
      (await em.findOne(MessageEvent, { provider, providerEventId })) ?? undefined,
    async countInboundAfter(conversationId, sequence) {
      return em.count(Message, { conversationId, direction: 'inbound', sequence: { $gt: sequence } });
    },
    async deleteConversation(conversation) {
      em.remove(conversation);
      await em.flush();
    },
    async messageView(id) {
      await flushed(em);
      const { rows } = await sql<Row>`select ${sql.raw(readers.message.columns)} from messages where id = ${id} ${prepared}`.execute(
        database,
      );
      const [row] = rows;
      if (row === undefined) throw new Error('a message vanished inside its transaction');
      return toMessageView(readers.message.fields(row));
    },
    async conversationView(id) {
      await flushed(em);
      const { rows } =
        await sql<Row>`select ${sql.raw(readers.conversation.columns)} from conversations where id = ${id} ${prepared}`.execute(database);
      const [row] = rows;
      if (row === undefined) throw new Error('a conversation vanished inside its transaction');
      return toConversationView(readers.conversation.fields(row));
    },
  };
}
