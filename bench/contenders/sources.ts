/** Where the stock servers get a message from: the same row, read in the ways that people read it. */
import { fromJsonString } from '@bufbuild/protobuf';
import { Redis } from 'ioredis';
import pg from 'pg';
import { type Message, MessageSchema } from '../../gen/messaging/v1/message_pb.js';
import type { MessageFields } from '../../src/domain/message.ts';
import { toMessageView } from '../../src/domain/views.ts';
import { HOT_ROWS, plainKey } from '../requests.ts';
import { messageId } from '../rows.ts';

export type Find = (id: string) => Promise<Message>;

/** As many connections as the service takes. */
const POOL_MAX = 10;
export const environment = (name: string): string => {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
};

const connectRedis = (): Redis =>
  new Redis({ host: environment('REDIS_HOST'), port: Number(environment('REDIS_PORT')), enableAutoPipelining: true });

/** What a cache was asked for and does not have, or a wrong id: a bench that measures that measures nothing. */
function present<Value>(value: Value | null | undefined, id: string): Value {
  if (value === null || value === undefined) throw new Error(`there is no message ${id}`);
  return value;
}

const columns = [
  ...['id', 'conversation_id', 'provider', 'provider_message_id', 'direction', 'status', 'message_type', 'from_address', 'to_address'],
  ...['body', 'attachments', 'email', 'segmentation', 'failure', 'meta_data', 'parent_id', 'created_by', 'sequence', 'attempt_count'],
  ...['sent_at', 'delivered_at', 'failed_at', 'send_at', 'expire_at', 'next_attempt_at', 'created_at', 'updated_at', 'version'],
].map((name) => `${name} as "${name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())}"`);

/** A prepared statement of the bare driver. */
export function openPg(url: string): { readonly find: Find; close(): Promise<void> } {
  const pool = new pg.Pool({ connectionString: url, max: POOL_MAX });
  const text = `select ${columns.join(', ')} from messages where id = $1`;
  return {
    async find(id) {
      const { rows } = await pool.query<MessageFields>({ name: 'message', text, values: [id] });
      return toMessageView(present(rows[0], id));
    },
    close: () => pool.end(),
  };
}

async function openMikroOrm(): Promise<Find> {
  // Imported by who needs it: the others shall not start the slower, nor be the larger.
  const { openOrm } = await import('../../src/db/orm.ts');
  const { Message: MessageEntity } = await import('../../src/domain/message.ts');
  const url = environment('DATABASE_URL');
  const orm = await openOrm({ url, poolMax: POOL_MAX, statementTimeoutMs: 5_000, connectTimeoutMs: 10_000 });
  return async (id) => toMessageView(present(await orm.em.fork().findOne(MessageEntity, id), id));
}

function openRedis(): Find {
  const redis = connectRedis();
  return async (id) => fromJsonString(MessageSchema, present(await redis.get(plainKey(id)), id));
}

/** Objects that are there before the first request. */
async function openReady(): Promise<Find> {
  const { find, close } = openPg(environment('DATABASE_URL'));
  const ids = Array.from({ length: HOT_ROWS }, (_, row) => messageId(row));
  const messages = new Map(await Promise.all(ids.map(async (id) => [id, await find(id)] as const)));
  await close();
  return (id) => Promise.resolve(present(messages.get(id), id));
}

async function openLibrary(name: 'openBentocache' | 'openCacheable', memory: boolean): Promise<Find> {
  const libraries = await import('./library-caches.ts');
  const load = openPg(environment('DATABASE_URL')).find;
  return libraries[name]({ host: environment('REDIS_HOST'), port: Number(environment('REDIS_PORT')), load, memory });
}

const sources: Readonly<Record<string, () => Find | Promise<Find>>> = {
  ready: openReady,
  redis: openRedis,
  pg: () => openPg(environment('DATABASE_URL')).find,
  'mikro-orm': openMikroOrm,
  bentocache: () => openLibrary('openBentocache', true),
  'bentocache-redis': () => openLibrary('openBentocache', false),
  cacheable: () => openLibrary('openCacheable', true),
  'cacheable-redis': () => openLibrary('openCacheable', false),
};

export async function openSource(name = ''): Promise<Find> {
  const open = sources[name];
  if (open === undefined) throw new Error(`unknown source "${name}"; one of ${Object.keys(sources).join(', ')}`);
  return open();
}
