import type { Conversation } from '../domain/conversation.ts';
import { conversationNotFound, DomainError, messageNotFound } from '../domain/errors.ts';
import type { JsonObject } from '../domain/json.ts';
import type { Store, Tx } from '../domain/ports.ts';
import type { ConversationView } from '../domain/views.ts';
import { checkMetaData } from './outbound-draft.ts';

export interface ConversationPatch {
  /** undefined: left as it is. */
  readonly title: string | undefined;
  readonly metaData: JsonObject | undefined;
}

async function checkReopen(tx: Tx, conversation: Conversation): Promise<void> {
  if (conversation.thread || conversation.status !== 'closed') return;
  const other = await tx.findOpenConversation(conversation);
  if (other === undefined) return;
  throw new DomainError('conversation_exists', `conversation ${other.id} is open between the same addresses`, {
    metadata: { conversation_id: other.id },
  });
}

/** Changes one conversation under its row lock. Every method throws conversation_not_found; those with an etag, etag_mismatch. */
export function createChangeConversation({ store }: { readonly store: Store }) {
  const change = (
    id: string,
    etag: string,
    apply: (conversation: Conversation, tx: Tx) => Promise<void> | void,
  ): Promise<ConversationView> =>
    store.transaction(async (tx) => {
      const conversation = await tx.lockConversation(id);
      if (conversation === undefined) throw conversationNotFound([id]);
      conversation.checkEtag(etag);
      await apply(conversation, tx);
      return tx.conversationView(id);
    });

  return {
    async update(id: string, patch: ConversationPatch, etag: string): Promise<ConversationView> {
      if (patch.metaData !== undefined) checkMetaData(patch.metaData, 'conversation.meta_data');
      return change(id, etag, (conversation) => {
        if (patch.title !== undefined) conversation.title = patch.title;
        if (patch.metaData !== undefined) conversation.metaData = patch.metaData;
      });
    },

    /** Messages that arrived after `throughMessageId` stay unread. Throws message_not_found when it is not of this conversation. */
    markRead: (id: string, throughMessageId: string): Promise<ConversationView> =>
      change(id, '', async (conversation, tx) => {
        const message = await tx.findMessage(throughMessageId);
        if (message?.conversationId !== id) throw messageNotFound([throughMessageId]);
        conversation.markRead(message.id, message.sequence, await tx.countInboundAfter(id, message.sequence));
      }),

    /** Throws status_forbids when CLOSED. */
    archive: (id: string, etag: string): Promise<ConversationView> => change(id, etag, (conversation) => conversation.archive()),

    /** Throws conversation_exists when another conversation is open between the same addresses. */
    reopen: (id: string, etag: string): Promise<ConversationView> =>
      change(id, etag, async (conversation, tx) => {
        await checkReopen(tx, conversation);
        conversation.reopen();
      }),

    close: (id: string, etag: string): Promise<ConversationView> => change(id, etag, (conversation) => conversation.close()),

    /** With its messages and their history, for good. */
    delete: (id: string, etag: string, allowMissing: boolean): Promise<void> =>
      store.transaction(async (tx) => {
        const conversation = await tx.lockConversation(id);
        if (conversation === undefined) {
          if (allowMissing) return;
          throw conversationNotFound([id]);
        }
        conversation.checkEtag(etag);
        await tx.deleteConversation(conversation);
      }),
  };
}
