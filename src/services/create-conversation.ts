import { type Channel, parseEmail, parsePhone, parseSender } from '../domain/address.ts';
import { newConversation } from '../domain/conversation.ts';
import { conversationNotFound } from '../domain/errors.ts';
import type { JsonObject } from '../domain/json.ts';
import type { Clock, NewId, Store } from '../domain/ports.ts';
import { type ConversationView, toConversationView } from '../domain/views.ts';
import { claimOrReplay } from './claim-request.ts';
import { contentHash } from './content-hash.ts';
import { checkMetaData } from './outbound-draft.ts';

export interface ConversationDraft {
  readonly participantFrom: string;
  readonly participantTo: string;
  readonly channel: Channel;
  readonly title: string;
  readonly metaData: JsonObject;
  /** Create a thread even when a conversation is open for the pair. */
  readonly newThread: boolean;
  readonly requestId: string | undefined;
}

export interface CreatedConversation {
  readonly conversation: ConversationView;
  readonly created: boolean;
}

/** Returns the open conversation of an address pair, creating it when there is none; two callers never create two. */
export function createCreateConversation({ store, clock, newId }: { readonly store: Store; readonly clock: Clock; readonly newId: NewId }) {
  return async (draft: ConversationDraft, caller: string): Promise<CreatedConversation> => {
    const ours = parseSender(draft.participantFrom, draft.channel, 'participant_from');
    const parse = draft.channel === 'email' ? parseEmail : parsePhone;
    const theirs = parse(draft.participantTo, 'participant_to');
    checkMetaData(draft.metaData, 'meta_data');
    const { title, metaData, newThread: thread, requestId } = draft;
    return store.transaction(async (tx) => {
      const at = clock.now();
      const fresh = newConversation({ id: newId(), title, metaData, thread, participants: { ours, theirs }, at });
      const hash = contentHash('create conversation', { ours, theirs, title, metaData, thread });
      const earlier = await claimOrReplay(tx, { caller, requestId, contentHash: hash, resourceId: fresh.id, at }, 'conversation_id');
      if (earlier !== undefined) {
        const conversation = await tx.findConversation(earlier);
        // A claim names the id that was meant to be new; when the pair had a conversation already, that is the answer.
        const known = conversation ?? (await tx.findOpenConversation(fresh));
        if (known === undefined) throw conversationNotFound([earlier]);
        return { conversation: toConversationView(known), created: false };
      }
      if (thread) {
        tx.addConversation(fresh);
        return { conversation: await tx.conversationView(fresh.id), created: true };
      }
      const { conversation, created } = await tx.getOrCreateConversation(fresh);
      return { conversation: toConversationView(conversation), created };
    });
  };
}
