import { newConversation } from '../domain/conversation.ts';
import { conversationClosed, conversationNotFound, DomainError, messageNotFound, participantsMismatch } from '../domain/errors.ts';
import type { MessageFields } from '../domain/message.ts';
import type { MessageEventFields } from '../domain/message-event.ts';
import type { Appended, Clock, NewId, Store, Tx } from '../domain/ports.ts';
import { type RefusedRecipient, recipientOptedOut } from '../domain/suppression.ts';
import { type MessageView, toMessageView } from '../domain/views.ts';
import { claimOrReplay } from './claim-request.ts';
import { contentHash } from './content-hash.ts';
import { jobOf } from './dispatch-queue.ts';
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
  /** W3C traceparent of the running call; empty: none. */
  readonly traceParent: () => string;
  /** Keys of the addresses that may send; empty: any. */
  readonly senderKeys: ReadonlySet<string>;
  /** Called for every message that is refused because its recipient has opted out. */
  readonly onSuppressed: () => void;
}

interface Item {
  readonly index: number;
  /** Of the message in the request. */
  readonly path: string;
  readonly id: string;
  readonly prepared: PreparedMessage;
  readonly requestId: string | undefined;
}

interface Stored {
  readonly message: MessageView;
  /** undefined: the recipient has not opted out. */
  readonly suppressedSince: Date | undefined;
}

/** By index. */
const inOrder = <T>(items: ReadonlyMap<number, T>): readonly T[] =>
  [...items].toSorted(([left], [right]) => left - right).map(([, item]) => item);

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
  const conversation = await tx.findConversation(conversationId);
  if (conversation === undefined) throw conversationNotFound([conversationId]);
  if (conversation.fromKey !== from.key || conversation.toKey !== to.key) {
    throw participantsMismatch(`conversation ${conversationId} is between other addresses`, conversationId);
  }
  const appended = await tx.appendToExisting(conversationId, 'outbound', at);
  if (appended === undefined) throw conversationClosed(conversationId);
  return appended;
}

async function checkParent(tx: Tx, parentId: string, conversationId: string): Promise<void> {
  const parent = await tx.findMessage(parentId);
  if (parent === undefined) throw messageNotFound([parentId]);
  if (parent.conversationId !== conversationId) {
    throw participantsMismatch(`message ${parentId} is in another conversation`, parent.conversationId);
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
    nextAttemptAt: sendAt ?? at,
    createdAt: at,
    updatedAt: at,
    version: 1,
  };
}

/**
 * Stores messages as PENDING with their first event and their conversation's counters: all or none. A repeated request_id of the
 * same caller returns the earlier message instead, also when the recipient has opted out since. Answers in the order of the requests.
 * Throws recipient_opted_out, which names every request that is to blame.
 */
export function createSendMessages({ store, clock, newId, traceParent, senderKeys, onSuppressed }: SendMessageOptions) {
  async function storeOne(tx: Tx, item: Item, caller: string, at: Date): Promise<Stored> {
    const { from, to, conversationId, parentId } = item.prepared;
    const participants = { ours: from, theirs: to };
    const fresh = newConversation({ id: newId(), title: '', metaData: {}, thread: false, participants, at });
    const appended =
      conversationId === undefined
        ? await tx.appendToOpen(fresh, 'outbound', at)
        : await appendToNamed(tx, conversationId, item.prepared, at);
    if (parentId !== undefined) await checkParent(tx, parentId, appended.conversationId);
    const message = fieldsOf(item, appended, caller, at);
    const first: MessageEventFields = {
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
    };
    const job = jobOf(message, message.nextAttemptAt ?? at, traceParent());
    const suppressedSince = await tx.storeMessage(message, first, { job, participants });
    return { message: toMessageView(message), suppressedSince };
  }

  return async (requests: readonly SendRequest[], caller: string): Promise<readonly Sent[]> => {
    const now = clock.now();
    const items = requests.map(({ draft, requestId }, index): Item => {
      return { index, path: draft.path, id: newId(), prepared: prepareMessage(draft, senderKeys, now), requestId };
    });
    const work = async (tx: Tx): Promise<readonly Sent[]> => {
      const sent = new Map<number, Sent>();
      const replayed = await claimAll(tx, items, caller, now);
      for (const [index, messageId] of replayed) {
        const known = await tx.findMessage(messageId);
        if (known === undefined) throw messageNotFound([messageId]);
        sent.set(index, { message: toMessageView(known), replayed: true });
      }
      const refused = new Map<number, RefusedRecipient>();
      const fresh = items.filter(({ index }) => !replayed.has(index));
      // Conversations are locked in one order for all callers, so that two batches cannot wait for each other: by addresses, which
      // those of a named conversation share, and then by name.
      for (const item of byKey(fresh, ({ prepared: { conversationId = '', from, to } }) => `${from.key} ${to.key} ${conversationId}`)) {
        const { message, suppressedSince } = await storeOne(tx, item, caller, now);
        sent.set(item.index, { message, replayed: false });
        const { path, prepared } = item;
        if (suppressedSince !== undefined) refused.set(item.index, { path, address: prepared.to.text, since: suppressedSince });
      }
      if (refused.size > 0) throw recipientOptedOut(inOrder(refused));
      return inOrder(sent);
    };
    try {
      return await store.transaction(work);
    } catch (error) {
      if (error instanceof DomainError && error.code === 'recipient_opted_out') for (const _ of error.fields) onSuppressed();
      throw error;
    }
  };
}
