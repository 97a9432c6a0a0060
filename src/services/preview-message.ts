import type { Clock, Reads } from '../domain/ports.ts';
import { type OutboundDraft, type PreparedMessage, prepareMessage } from './outbound-draft.ts';

export interface Preview extends Pick<PreparedMessage, 'from' | 'to' | 'messageType' | 'provider' | 'segmentation'> {
  /** undefined: sending would start a new conversation. */
  readonly conversationId: string | undefined;
}

/** What SendMessage would store, without storing it; fails as SendMessage would. */
export function createPreviewMessage(options: { readonly reads: Reads; readonly clock: Clock; readonly senderKeys: ReadonlySet<string> }) {
  return async (draft: OutboundDraft): Promise<Preview> => {
    const { from, to, messageType, provider, segmentation, conversationId } = prepareMessage(
      draft,
      options.senderKeys,
      options.clock.now(),
    );
    const joined = conversationId ?? (await options.reads.findOpenConversationId({ ours: from, theirs: to }));
    return { from, to, messageType, provider, segmentation, conversationId: joined };
  };
}
