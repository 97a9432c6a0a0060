/** A message's way to its provider, in few statements: each is a round trip while the conversation is locked. */
import { CompiledQuery } from 'kysely';
import { DeliveryAttempt, type DeliveryAttemptFields } from '../domain/delivery-attempt.ts';
import type { DispatchTx } from '../domain/delivery-ports.ts';
import { Message } from '../domain/message.ts';
import type { MessageEventFields } from '../domain/message-event.ts';
import { PREPARED } from './prepared-statements.ts';
import type { Database, RowReaders, RowWriters } from './rows.ts';

type Row = Record<string, unknown>;

const LOCK_CONVERSATION = `select 1 from conversations where id = $1 for update ${PREPARED}`;

/** What delivery changes of a message. */
const CHANGED = [
  ...['status', 'provider', 'provider_message_id', 'failure', 'attempt_count'],
  ...['sent_at', 'delivered_at', 'failed_at', 'next_attempt_at'],
];
/** What changes of an attempt after it has begun. */
const LEARNED = ['outcome', 'provider_message_id', 'failure', 'settled_at'];
/** Of an event; its sequence is handed out by the statement. */
const TOLD = [
  ...['id', 'message_id', 'conversation_id', 'type', 'status_before', 'status_after', 'provider', 'provider_status'],
  ...['provider_event_id', 'failure', 'attempt', 'occurred_at', 'recorded_at'],
];

const places = (start: number, count: number): readonly string[] => Array.from({ length: count }, (_, index) => `$${start + index}`);

/** True of the messages of a conversation that are PENDING and due. `alias`: of the table; the others are expressions. */
export const dueIn = (alias: string, { conversation, at }: { readonly conversation: string; readonly at: string }): string =>
  `${alias}.conversation_id = ${conversation} and ${alias}.status = 'pending' and ${alias}.direction = 'outbound'
    and (${alias}.send_at is null or ${alias}.send_at <= ${at}::timestamptz)`;

/** $1: the message, $2: now, $3: the attempt, or null for the latest. */
function lockMessageText({ message, attempt }: RowReaders): string {
  const pending = (alias: string) => dueIn(alias, { conversation: 'messages.conversation_id', at: '$2' });
  // Whoever changes what is asked here holds the conversation's lock, so a statement that comes after it sees the latest.
  return `
    select ${message.columns},
      exists (select from messages e where ${pending('e')} and e.sequence < messages.sequence) as "isBlocked",
      exists (
        select from suppressions s join conversations c on s.channel = c.channel_type and s.address_key = c.to_key
        where c.id = messages.conversation_id and s.from_key in ('', c.from_key)
      ) as "isSuppressed",
      (select n.id from messages n where ${pending('n')} and n.sequence > messages.sequence order by n.sequence limit 1) as "nextPendingId",
      (select count(*)::integer from delivery_attempts r where r.message_id = messages.id and r.outcome = 'transient' and not r.superseded)
        as refusals,
      (select to_jsonb(found) from (
        select ${attempt.columns} from delivery_attempts
        where message_id = messages.id and ($3::integer is null or attempt = $3) order by attempt desc limit 1
      ) found) as "latestAttempt"
    from messages where id = $1 for update of messages ${PREPARED}`;
}

function writes(writers: RowWriters) {
  const message = writers.message.some(CHANGED);
  const event = writers.event.some(TOLD);
  const { attempt } = writers;
  const set = message.columns.map((column, index) => `${column} = $${index + 2}`).join(', ');
  const eventStart = CHANGED.length + 2;
  const conversation = `$${eventStart + TOLD.indexOf('conversation_id')}`;
  const changes = `
    with numbered as (update conversations set last_sequence = last_sequence + 1 where id = ${conversation} returning last_sequence),
      changed as (update messages set ${set} where id = $1)`;
  const insertEvent = `insert into message_events (${event.columns.join(', ')}, sequence)
    select ${places(eventStart, TOLD.length).join(', ')}, last_sequence from numbered`;
  const upsertAttempt = (start: number): string => `
    insert into delivery_attempts (${attempt.columns.join(', ')}) values (${places(start, attempt.columns.length).join(', ')})
    on conflict (message_id, attempt) do update set ${LEARNED.map((column) => `${column} = excluded.${column}`).join(', ')}`;
  const texts = {
    alone: `${changes} ${insertEvent} ${PREPARED}`,
    withAttempt: `${changes}, attempted as (${upsertAttempt(eventStart + TOLD.length)}) ${insertEvent} ${PREPARED}`,
    attempt: `${upsertAttempt(1)} ${PREPARED}`,
  };
  return {
    all(changed: Message, attempted: DeliveryAttemptFields | undefined, told: MessageEventFields): CompiledQuery {
      const values = [changed.id, ...message.values(changed), ...event.values(told)];
      if (attempted === undefined) return CompiledQuery.raw(texts.alone, values);
      return CompiledQuery.raw(texts.withAttempt, [...values, ...attempt.values(attempted)]);
    },
    attempt: (attempted: DeliveryAttemptFields) => CompiledQuery.raw(texts.attempt, [...attempt.values(attempted)]),
  };
}

export type DispatchStatements = (database: Database) => DispatchTx;

export function dispatchStatements(writers: RowWriters, readers: RowReaders): DispatchStatements {
  const lockMessage = lockMessageText(readers);
  const write = writes(writers);
  return (database) => ({
    async lockForDispatch({ conversationId, messageId }, at, attempt) {
      const locked = await database.executeQuery(CompiledQuery.raw(LOCK_CONVERSATION, [conversationId]));
      if (locked.rows.length === 0) return undefined;
      const found = await database.executeQuery<Row>(CompiledQuery.raw(lockMessage, [messageId, at.toISOString(), attempt ?? null]));
      const [row] = found.rows;
      if (row === undefined) return undefined;
      const { isSuppressed, isBlocked, nextPendingId, refusals, latestAttempt, ...columns } = row;
      const fields = latestAttempt as Row | null;
      return {
        message: Object.assign(new Message(), readers.message.fields(columns)),
        attempt: fields === null ? undefined : Object.assign(new DeliveryAttempt(), readers.attempt.fields(fields)),
        isSuppressed: isSuppressed === true,
        isBlocked: isBlocked === true,
        nextPendingId: nextPendingId === null ? undefined : String(nextPendingId),
        refusals: Number(refusals),
      };
    },
    async writeDispatch({ message, attempt, event }) {
      await database.executeQuery(write.all(message, attempt, { ...event, sequence: 0 }));
    },
    async writeAttempt(attempt) {
      await database.executeQuery(write.attempt(attempt));
    },
  });
}
