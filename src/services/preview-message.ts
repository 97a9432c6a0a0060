import { storedAddress } from '../domain/address.ts';
import { conversationClosed, conversationNotFound, messageNotFound, participantsMismatch } from '../domain/errors.ts';
import type { Clock, Reads } from '../domain/ports.ts';
import type { SuppressionReads } from '../domain/suppression-ports.ts';
import { isClosed } from '../domain/views.ts';
import { type OutboundDraft, type PreparedMessage, prepareMessage } from './outbound-draft.ts';

export interface Preview extends Pick<PreparedMessage, 'from' | 'to' | 'messageType' | 'provider' | 'segmentation'> {
  /** The recipient has opted out: sending would fail. */
  readonly suppressed: boolean;
  /** undefined: sending would start a new conversation. */
  readonly conversationId: string | undefined;
}

export interface PreviewMessageOptions {
  readonly reads: Reads;
  readonly suppressions: SuppressionReads;
  readonly clock: Clock;
  readonly senderKeys: ReadonlySet<string>;
}

/**
 * What SendMessage would store, without storing it; fails as SendMessage would, but for a recipient who has opted out. Throws what
 * prepareMessage() does, conversation_not_found, conversation_closed, participants_mismatch, message_not_found.
 */
export function createPreviewMessage({ reads, suppressions, clock, senderKeys }: PreviewMessageOptions) {
  async function checkNamed(id: string, { from, to }: PreparedMessage): Promise<void> {
    const { value: conversation } = await reads.findConversation(id);
    if (conversation === undefined) throw conversationNotFound([id]);
    const [ours, theirs] = [conversation.participantFrom, conversation.participantTo].map((text) => storedAddress(text, to.channel).key);
    if (ours !== from.key || theirs !== to.key) throw participantsMismatch(`conversation ${id} is between other addresses`, id);
    if (isClosed(conversation)) throw conversationClosed(id);
  }

  async function checkParent(id: string, conversationId: string | undefined): Promise<void> {
    const { value: parent } = await reads.findMessage(id);
    if (parent === undefined) throw messageNotFound([id]);
    if (parent.conversationId !== conversationId) {
      throw participantsMismatch(`message ${id} is in another conversation`, parent.conversationId);
    }
  }

  return async (draft: OutboundDraft): Promise<Preview> => {
    const prepared = prepareMessage(draft, senderKeys, clock.now());
    const { from, to, messageType, provider, segmentation, parentId } = prepared;
    if (prepared.conversationId !== undefined) await checkNamed(prepared.conversationId, prepared);
    const conversationId = prepared.conversationId ?? (await reads.findOpenConversationId({ ours: from, theirs: to }));
    if (parentId !== undefined) await checkParent(parentId, conversationId);
    const suppressed = (await suppressions.findSuppression(to.channel, to.key, from.key)) !== undefined;
    return { from, to, messageType, provider, segmentation, suppressed, conversationId };
  };
}
