import { ConversationSchema } from '../../gen/messaging/v1/conversation_pb.js';
import { MessageSchema } from '../../gen/messaging/v1/message_pb.js';
import type { Reads, RowRef, Store } from '../domain/ports.ts';
import { type ConversationView, type MessageView, versionOf } from '../domain/views.ts';
import { cellCodec } from './cell.ts';
import { type CellCacheOptions, createCellCache } from './cell-cache.ts';

export interface Cached extends AsyncDisposable {
  readonly reads: Reads;
  readonly store: Store;
}

/** Puts Redis in front of single rows. Lists, searches and counts go to the database as before; so does everything when Redis fails. */
export function withCache({ reads, store }: { readonly reads: Reads; readonly store: Store }, options: CellCacheOptions): Cached {
  const messages = createCellCache<MessageView>(
    { name: 'message', codec: cellCodec(MessageSchema), versionOf, load: async (ids) => (await reads.findMessages(ids)).value },
    options,
  );
  const conversations = createCellCache<ConversationView>(
    {
      name: 'conversation',
      codec: cellCodec(ConversationSchema),
      versionOf,
      load: async (ids) => (await reads.findConversations(ids)).value,
    },
    options,
  );
  const caches = { message: messages, conversation: conversations };
  const forget = async (changed: readonly RowRef[]): Promise<void> => {
    await Promise.all(changed.map(({ entity, id }) => caches[entity].forget(id)));
  };
  return {
    reads: {
      ...reads,
      findMessage: (id) => messages.find(id),
      findMessages: (ids) => messages.findMany(ids),
      findConversation: (id) => conversations.find(id),
      findConversations: (ids) => conversations.findMany(ids),
    },
    store: {
      transaction: (work, hooks = {}) =>
        store.transaction(work, {
          async afterCommit(changed) {
            await forget(changed);
            await hooks.afterCommit?.(changed);
          },
        }),
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([messages.idle(), conversations.idle()]);
    },
  };
}
