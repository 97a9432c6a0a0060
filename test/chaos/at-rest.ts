/** When all faults are gone and nothing is under way any more, every answer and every cell must be what the database says. */
import { equals } from '@bufbuild/protobuf';
import { ConversationSchema } from '../../gen/messaging/v1/conversation_pb.js';
import { MessageSchema } from '../../gen/messaging/v1/message_pb.js';
import { cellCodec } from '../../src/cache/cell.ts';
import type { CachedEntity } from '../../src/domain/ports.ts';
import type { ConversationView, MessageView } from '../../src/domain/views.ts';
import { until } from '../support/until.ts';
import { isMessage, type Row } from './population.ts';
import { ask, versionOf } from './readers.ts';
import type { World } from './world.ts';

const MAX_IDS = 100;
const MAX_HEAD_BYTES = 40;
const codecOptions = { compressFromBytes: 4_096, maxBytes: 1_048_576 };
const codecs = { message: cellCodec(MessageSchema, codecOptions), conversation: cellCodec(ConversationSchema, codecOptions) };

type View = MessageView | ConversationView;

function isSame(left: View, right: View): boolean {
  if (left.$typeName === MessageSchema.typeName && right.$typeName === MessageSchema.typeName) return equals(MessageSchema, left, right);
  if (left.$typeName === ConversationSchema.typeName && right.$typeName === ConversationSchema.typeName)
    return equals(ConversationSchema, left, right);
  return false;
}

export async function viewsOf({ servers }: Pick<World, 'servers'>, entity: CachedEntity, ids: readonly string[]) {
  const { reads } = servers.database;
  const views = new Map<string, View>();
  for (let from = 0; from < ids.length; from += MAX_IDS) {
    const some = ids.slice(from, from + MAX_IDS);
    const { value } = entity === 'message' ? await reads.findMessages(some) : await reads.findConversations(some);
    for (const [id, view] of value) views.set(id, view);
  }
  return views;
}

/** Until every process answers from the cache again and the relay has nothing left to tell. */
export async function settled({ stack, servers }: Pick<World, 'stack' | 'servers'>, naive: boolean): Promise<void> {
  if (naive) return;
  await until('the outbox is empty', async () => (await servers.database.outbox.backlog()).rows === 0);
  for (const replica of stack.replicas) {
    await replica.serving();
    await until(`process ${replica.index} trusts the cache`, () => replica.isTrusted());
  }
}

async function wrongAnswers(world: World, entity: CachedEntity, rows: readonly Row[]): Promise<number> {
  const views = await viewsOf(
    world,
    entity,
    rows.map(({ id }) => id),
  );
  let wrong = 0;
  for (const replica of world.stack.replicas) {
    const serving = await replica.serving();
    // One call each for rows that are gone: a call for many tells only which of them are.
    const present = rows.filter(({ id }) => views.has(id));
    const absent = rows.filter(({ id }) => !views.has(id)).map((row) => [row]);
    const batches = Array.from({ length: Math.ceil(present.length / MAX_IDS) }, (_, index) =>
      present.slice(index * MAX_IDS, (index + 1) * MAX_IDS),
    );
    for (const batch of [...batches, ...absent]) {
      const answer = await ask(serving, batch);
      for (const { id, key } of batch) {
        const view = views.get(id);
        if (answer.get(id) === (view === undefined ? 'absent' : versionOf(view))) continue;
        world.note(`at rest ${key} is shown as ${answer.get(id)} by ${replica.index}, and is ${view?.etag ?? 'gone'}`);
        wrong += 1;
      }
    }
  }
  return wrong;
}

async function cellsOf({ servers }: World, entity: CachedEntity): Promise<ReadonlyMap<string, Buffer>> {
  const cells = new Map<string, Buffer>();
  for await (const keys of servers.redis.scanStream({ match: `${entity}:*`, count: 1_000 }) as AsyncIterable<string[]>) {
    const values = keys.length === 0 ? [] : await servers.redis.mgetBuffer(keys);
    for (const [index, key] of keys.entries()) {
      const value = values[index];
      if (value != null) cells.set(key.slice(entity.length + 1), value);
    }
  }
  return cells;
}

/** Leases and marks say nothing of the row, and a cell of another build is told by its version. */
function isRight(entity: CachedEntity, bytes: Buffer, view: View | undefined): boolean {
  const cell = codecs[entity].decode(bytes);
  switch (cell.kind) {
    case 'value':
      return view !== undefined && isSame(cell.view, view) && cell.version === versionOf(view);
    case 'negative':
      return view === undefined;
    case 'foreign':
      return view !== undefined && bytes.toString('latin1', 0, MAX_HEAD_BYTES).startsWith(`V:${versionOf(view)}:`);
    case 'absent':
    case 'lease':
    case 'mark':
      return true;
    default:
      return cell satisfies never;
  }
}

async function wrongCells(world: World, entity: CachedEntity): Promise<number> {
  const cells = await cellsOf(world, entity);
  const views = await viewsOf(world, entity, [...cells.keys()]);
  const wrong = [...cells].filter(([id, bytes]) => !isRight(entity, bytes, views.get(id)));
  for (const [id, bytes] of wrong) {
    const head = bytes.toString('latin1', 0, MAX_HEAD_BYTES);
    world.note(`at rest the cell of ${entity}:${id} is ${head}, and the row is ${views.get(id)?.etag ?? 'gone'}`);
  }
  return wrong.length;
}

/** How many answers and cells differ from their rows. */
export async function wrongAtRest(world: World, naive: boolean): Promise<number> {
  const { conversations, messages, gone } = world.population;
  const messageRows = [...messages, ...gone.filter(isMessage)];
  const conversationRows = [...conversations, ...gone.filter((row) => !isMessage(row))];
  const answers = (await wrongAnswers(world, 'message', messageRows)) + (await wrongAnswers(world, 'conversation', conversationRows));
  if (naive) return answers;
  return answers + (await wrongCells(world, 'message')) + (await wrongCells(world, 'conversation'));
}
