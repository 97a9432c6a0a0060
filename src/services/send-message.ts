import { newConversation } from '../domain/conversation.ts';
import { conversationNotFound, DomainError, messageNotFound } from '../domain/errors.ts';
import type { MessageFields } from '../domain/message.ts';
import type { Appended, Clock, NewId, Store, Tx } from '../domain/ports.ts';
import { type MessageView, toMessageView } from '../domain/views.ts';
import { claimOrReplay } from './claim-request.ts';
import { contentHash } from './content-hash.ts';
import { type OutboundDraft, type PreparedMessage, prepareMessage } from './outbound-draft.ts';

export interface SendRequest {
  readonly draft: OutboundDraft;
  /** undefined: not idempotent. */
  readonly requestId: string | undefined;
}

export interface Sent {
  readonly message: MessageView;
  readonly replayed: boolean;
}

export interface SendMessageOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly newId: NewId;
  /** Keys of the addresses that may send; empty: any. */
  readonly senderKeys: ReadonlySet<string>;
}

interface Item {
  readonly index: number;
  readonly id: string;
  readonly prepared: PreparedMessage;
  readonly requestId: string | undefined;
}

const byKey = <T>(items: readonly T[], key: (item: T) => string): readonly T[] =>
  items.toSorted((left, right) => (key(left) < key(right) ? -1 : key(left) > key(right) ? 1 : 0));

/** Claims every request_id, in one order for all callers. Returns the message ids of requests that were done before, by index. */
async function claimAll(tx: Tx, items: readonly Item[], caller: string, at: Date): Promise<ReadonlyMap<number, string>> {
  const replayed = new Map<number, string>();
  for (const { index, id, prepared, requestId } of byKey(items, (item) => item.requestId ?? '')) {
    const key = { caller, requestId, contentHash: contentHash('send', prepared), resourceId: id, at };
    const earlier = await claimOrReplay(tx, key, 'message_id');
    if (earlier !== undefined) replayed.set(index, earlier);
  }
  return replayed;
}

async function appendToNamed(tx: Tx, conversationId: string, { from, to }: PreparedMessage, at: Date): Promise<Appended> {
  const metadata = { conversation_id: conversationId };
  const conversation = await tx.findConversation(conversationId);
  if (conversation === undefined) throw conversationNotFound([conversationId]);
  if (conversation.fromKey !== from.key || conversation.toKey !== to.key) {
    throw new DomainError('participants_mismatch', `conversation ${conversationId} is between other addresses`, { metadata });
  }
  const appended = await tx.appendToExisting(conversationId, 'outbound', at);
  if (appended === undefined) throw new DomainError('conversation_closed', `conversation ${conversationId} is closed`, { metadata });
  return appended;
}

async function checkParent(tx: Tx, parentId: string, conversationId: string): Promise<void> {
  const parent = await tx.findMessage(parentId);
  if (parent === undefined) throw messageNotFound([parentId]);
  if (parent.conversationId !== conversationId) {
    throw new DomainError('participants_mismatch', `message ${parentId} is in another conversation`, {
      metadata: { conversation_id: parent.conversationId },
    });
  }
}

function fieldsOf({ id, prepared }: Item, { conversationId, sequence }: Appended, caller: string, at: Date): MessageFields {
  const { from, to, validityMs, sendAt } = prepared;
  return {
    id,
    conversationId,
    provider: prepared.provider,
    providerMessageId: null,
    direction: 'outbound',
    status: 'pending',
    messageType: prepared.messageType,
    fromAddress: from.text,
    toAddress: to.text,
    body: prepared.body,
    attachments: prepared.attachments,
    email: prepared.email ?? null,
    segmentation: prepared.segmentation ?? null,
    failure: null,
    metaData: prepared.metaData,
    parentId: prepared.parentId ?? null,
    createdBy: caller,
    sequence,
    attemptCount: 0,
    sentAt: null,
    deliveredAt: null,
    failedAt: null,
    sendAt: sendAt ?? null,
    expireAt: new Date((sendAt ?? at).getTime() + validityMs),
    nextAttemptAt: null,
    createdAt: at,
    updatedAt: at,
    version: 1,
  };
}

/**
 * Stores messages as PENDING with their first event and their conversation's counters: all or none. A repeated request_id of the
 * same caller returns the earlier message instead. Answers in the order of the requests.
 */
export function createSendMessages({ store, clock, newId, senderKeys }: SendMessageOptions) {
  async function storeOne(tx: Tx, item: Item, caller: string, at: Date): Promise<MessageView> {
    const { from, to, conversationId, parentId } = item.prepared;
    const participants = { ours: from, theirs: to };
    const fresh = newConversation({ id: newId(), title: '', metaData: {}, thread: false, participants, at });
    const appended =
      conversationId === undefined
        ? await tx.appendToOpen(fresh, 'outbound', at)
        : await appendToNamed(tx, conversationId, item.prepared, at);
    if (parentId !== undefined) await checkParent(tx, parentId, appended.conversationId);
    const message = fieldsOf(item, appended, caller, at);
    await tx.storeMessage(message, {
      id: newId(),
      messageId: message.id,
      conversationId: appended.conversationId,
      sequence: appended.sequence,
      type: 'created',
      statusBefore: null,
      statusAfter: message.status,
      provider: null,
      providerStatus: '',
      providerEventId: null,
      failure: null,
      attempt: 0,
      occurredAt: null,
      recordedAt: at,
    });
    return toMessageView(message);
  }

  return async (requests: readonly SendRequest[], caller: string): Promise<readonly Sent[]> => {
    const now = clock.now();
    const items = requests.map(({ draft, requestId }, index): Item => {
      return { index, id: newId(), prepared: prepareMessage(draft, senderKeys, now), requestId };
    });
    return store.transaction(async (tx) => {
      const sent = new Map<number, Sent>();
      const replayed = await claimAll(tx, items, caller, now);
      for (const [index, messageId] of replayed) {
        const known = await tx.findMessage(messageId);
        if (known === undefined) throw messageNotFound([messageId]);
        sent.set(index, { message: toMessageView(known), replayed: true });
      }
      const fresh = items.filter(({ index }) => !replayed.has(index));
      // Conversations are locked in one order for all callers, so that two batches cannot wait for each other: by addresses, which
      // those of a named conversation share, and then by name.
      for (const item of byKey(fresh, ({ prepared: { conversationId = '', from, to } }) => `${from.key} ${to.key} ${conversationId}`)) {
        sent.set(item.index, { message: await storeOne(tx, item, caller, now), replayed: false });
      }
      return [...sent].toSorted(([left], [right]) => left - right).map(([, answer]) => answer);
    });
  };
}
