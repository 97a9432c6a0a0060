/** Rows as the query builder reads them, for the paths where hydrating entities would cost more than the query. */
import type { EntityMetadata } from '@mikro-orm/core';
import type { Kysely } from 'kysely';
import { Conversation, type ConversationFields } from '../domain/conversation.ts';
import { DeliveryAttempt, type DeliveryAttemptFields } from '../domain/delivery-attempt.ts';
import { Message, type MessageFields } from '../domain/message.ts';
import { MessageEvent, type MessageEventFields } from '../domain/message-event.ts';
import { Suppression, type SuppressionFields } from '../domain/suppression.ts';
import { WebhookRequest, type WebhookRequestFields } from '../domain/webhook-request.ts';
import type { Orm } from './orm.ts';

type Snake<Name extends string> = Name extends `${infer Head}${infer Tail}`
  ? Head extends Lowercase<Head>
    ? `${Head}${Snake<Tail>}`
    : `_${Lowercase<Head>}${Snake<Tail>}`
  : Name;

/** The driver returns timestamps as text and parses JSON. */
type Column<Value> = Value extends Date ? string : Value;
type Columns<Fields> = { [Name in keyof Fields as Snake<Name & string>]: Column<Fields[Name]> };

/** `search` and `active_at` are generated columns that no entity carries. */
export interface Tables {
  readonly messages: Columns<MessageFields> & { readonly search: string };
  readonly conversations: Columns<ConversationFields> & { readonly search: string; readonly active_at: string };
  readonly message_events: Columns<MessageEventFields>;
  readonly request_ids: { caller: string; request_id: string; content_hash: string; resource_id: string; created_at: string };
}

export type Database = Kysely<Tables>;

/** One table's columns, renamed to the properties of its entity, and the way back from a row to an entity's data. */
export interface RowReader<Fields> {
  /** For `select`: `"conversation_id" as "conversationId"`, one per property, each prefixed with the table. */
  readonly columns: string;
  fields(row: Readonly<Record<string, unknown>>): Fields;
}

/** `without`: properties that cost too much to read each time. */
function rowReader<Fields>(
  metadata: EntityMetadata,
  parseDate: (text: string) => Date,
  without: readonly string[] = [],
): RowReader<Fields> {
  const properties = metadata.props.filter(({ persist, name }) => persist !== false && !without.includes(name));
  const dates = properties.filter(({ runtimeType }) => runtimeType === 'Date').map(({ name }) => name as string);
  const columns = properties.map(({ name, fieldNames }) => `"${metadata.tableName}"."${fieldNames[0]}" as "${name}"`);
  return {
    columns: columns.join(', '),
    fields(row) {
      const fields: Record<string, unknown> = { ...row };
      for (const name of dates) {
        const text = fields[name];
        if (typeof text === 'string') fields[name] = parseDate(text);
      }
      return fields as Fields;
    },
  };
}

/** One table's columns, and an entity's data in their order, as values to bind. */
export interface RowWriter<Fields> {
  readonly columns: readonly string[];
  values(fields: Fields): readonly unknown[];
  /** The same for some of its columns, in the order in which they are named. */
  some(columns: readonly string[]): Omit<RowWriter<Fields>, 'some'>;
}

function rowWriter<Fields>(metadata: EntityMetadata): RowWriter<Fields> {
  const properties = metadata.props.filter(({ persist }) => persist !== false);
  const bound = (value: unknown, isJson: boolean): unknown => {
    if (value === null || value === undefined) return null;
    if (value instanceof Date) return value.toISOString();
    return isJson ? JSON.stringify(value) : value;
  };
  const columns = properties.map(({ name, fieldNames, columnTypes }) => ({
    name,
    column: fieldNames[0],
    isJson: columnTypes[0] === 'jsonb',
  }));
  const writerOf = (chosen: typeof columns) => ({
    columns: chosen.map(({ column }) => `"${column}"`),
    values(fields: Fields) {
      const named = fields as Readonly<Record<string, unknown>>;
      return chosen.map(({ name, isJson }) => bound(named[name], isJson));
    },
  });
  return {
    ...writerOf(columns),
    some: (names) => writerOf(names.flatMap((name) => columns.filter(({ column }) => column === name))),
  };
}

export interface RowWriters {
  readonly message: RowWriter<MessageFields>;
  readonly event: RowWriter<MessageEventFields>;
  readonly attempt: RowWriter<DeliveryAttemptFields>;
  readonly suppression: RowWriter<SuppressionFields>;
  readonly webhookRequest: RowWriter<WebhookRequestFields>;
}

export function rowWriters(orm: Orm): RowWriters {
  const metadata = orm.getMetadata();
  return {
    message: rowWriter(metadata.get(Message)),
    event: rowWriter(metadata.get(MessageEvent)),
    attempt: rowWriter(metadata.get(DeliveryAttempt)),
    suppression: rowWriter(metadata.get(Suppression)),
    webhookRequest: rowWriter(metadata.get(WebhookRequest)),
  };
}

export interface RowReaders {
  readonly message: RowReader<MessageFields>;
  readonly event: RowReader<MessageEventFields>;
  readonly conversation: RowReader<ConversationFields>;
  readonly attempt: RowReader<DeliveryAttemptFields>;
  readonly suppression: RowReader<SuppressionFields>;
  readonly webhookRequest: RowReader<Omit<WebhookRequestFields, 'body'>>;
}

export function rowReaders(orm: Orm): RowReaders {
  const metadata = orm.getMetadata();
  // As entities are read: `new Date` takes the year 0001 in PostgreSQL's spelling for 2001.
  const platform = orm.driver.getPlatform();
  const parseDate = (text: string): Date => platform.parseDate(text);
  return {
    message: rowReader(metadata.get(Message), parseDate),
    event: rowReader(metadata.get(MessageEvent), parseDate),
    conversation: rowReader(metadata.get(Conversation), parseDate),
    attempt: rowReader(metadata.get(DeliveryAttempt), parseDate),
    suppression: rowReader(metadata.get(Suppression), parseDate),
    webhookRequest: rowReader(metadata.get(WebhookRequest), parseDate, ['body']),
  };
}
