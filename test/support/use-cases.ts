/** Every use case over one Store and Reads, and requests of which a test names only what it is about. */
import { v7 as uuidv7 } from 'uuid';
import { expect } from 'vitest';
import { openDatabase } from '../../src/db/database.ts';
import { addressKey } from '../../src/domain/address.ts';
import type { ReportedDelivery } from '../../src/domain/delivery-report.ts';
import type { InboundMessage } from '../../src/domain/inbound-message.ts';
import type { Clock, Reads, Store } from '../../src/domain/ports.ts';
import type { SuppressionReads } from '../../src/domain/suppression-ports.ts';
import type { WebhookReads } from '../../src/domain/webhook-ports.ts';
import { createChangeConversation } from '../../src/services/change-conversation.ts';
import { createChangeMessage } from '../../src/services/change-message.ts';
import { type ConversationDraft, createCreateConversation } from '../../src/services/create-conversation.ts';
import type { OutboundDraft } from '../../src/services/outbound-draft.ts';
import { createReadConversations } from '../../src/services/read-conversations.ts';
import { createReadMessages } from '../../src/services/read-messages.ts';
import { createReceiveMessage } from '../../src/services/receive-message.ts';
import { createReportDelivery } from '../../src/services/report-delivery.ts';
import { createSendMessages, type SendRequest, type Sent } from '../../src/services/send-message.ts';

import { createDatabase } from './database.ts';

export const caller = 'test';
/** A busy machine is slow, not broken. */
const TIMEOUT_MS = 60_000;

export interface UseCaseOptions {
  readonly store: Store;
  readonly reads: Reads;
  readonly clock?: Clock;
  /** Addresses that may send; none: any. */
  readonly senders?: readonly string[];
  readonly onSuppressed?: () => void;
}

export type UseCases = ReturnType<typeof useCases>;

export function useCases({
  store,
  reads,
  clock = { now: () => new Date() },
  senders = [],
  onSuppressed = () => undefined,
}: UseCaseOptions) {
  const parts = { store, clock, newId: uuidv7, traceParent: () => '' };
  const sendMessages = createSendMessages({ ...parts, senderKeys: new Set(senders.map(addressKey)), onSuppressed });
  return {
    sendMessages: (requests: readonly SendRequest[], by = caller) => sendMessages(requests, by),
    /** One message, with a request_id when one is given. */
    async send(draft: Partial<OutboundDraft>, requestId?: string, by = caller): Promise<Sent> {
      const [sent] = await sendMessages([{ draft: draftOf(draft), requestId }], by);
      if (sent === undefined) throw new Error('one request has one answer');
      return sent;
    },
    receive: createReceiveMessage(parts),
    report: createReportDelivery({ ...parts, onDelivered: () => undefined }),
    changeMessage: createChangeMessage(parts),
    createConversation: createCreateConversation(parts),
    changeConversation: createChangeConversation({ store }),
    messages: createReadMessages({ reads }),
    conversations: createReadConversations({ reads }),
  };
}

export interface OpenedStorage extends AsyncDisposable {
  readonly store: Store;
  readonly suppressions: SuppressionReads;
  readonly reads: Reads;
  readonly webhooks: WebhookReads;
  readonly url: string;
}

/** An empty database of its own. */
export async function openStorage(): Promise<OpenedStorage> {
  await using opened = new AsyncDisposableStack();
  const { url } = opened.use(await createDatabase());
  const { store, reads, suppressions, webhooks } = opened.use(
    await openDatabase({ url, poolMax: 10, statementTimeoutMs: TIMEOUT_MS, connectTimeoutMs: TIMEOUT_MS }),
  );
  const closing = opened.move();
  return { store, reads, suppressions, webhooks, url, [Symbol.asyncDispose]: () => closing.disposeAsync() };
}

export interface Pair {
  readonly ours: string;
  readonly theirs: string;
}

let pairs = 0;

/** Two phone numbers that no other test of this file uses. */
export function newPair(): Pair {
  pairs += 1;
  return { ours: `+1415${2_000_000 + pairs}`, theirs: `+1212${2_000_000 + pairs}` };
}

/** An SMS from our side to the other. */
export function draftBetween({ ours, theirs }: Pair): Pick<OutboundDraft, 'fromAddress' | 'toAddress'> {
  return { fromAddress: ours, toAddress: theirs };
}

export function draftOf(draft: Partial<OutboundDraft>): OutboundDraft {
  return {
    fromAddress: '+14155552671',
    toAddress: '+12125552672',
    messageType: undefined,
    body: 'hello',
    attachments: [],
    email: undefined,
    conversationId: undefined,
    parentId: undefined,
    metaData: {},
    sendAt: undefined,
    validityMs: undefined,
    path: 'message',
    ...draft,
  };
}

/** An SMS from the other side to ours, with a provider id of its own. */
export function inboundBetween({ ours, theirs }: Pair, inbound: Partial<InboundMessage> = {}): InboundMessage {
  return {
    provider: 'twilio',
    providerMessageId: `SM${uuidv7()}`,
    messageType: 'sms',
    fromAddress: theirs,
    toAddress: ours,
    body: 'hi',
    attachments: [],
    email: undefined,
    metaData: {},
    occurredAt: undefined,
    ...inbound,
  };
}

/** A report with an event id of its own. */
export function reportOn(messageId: string | undefined, report: Partial<ReportedDelivery> = {}): ReportedDelivery {
  return {
    provider: 'twilio',
    providerEventId: `EV${uuidv7()}`,
    messageId,
    attempt: undefined,
    providerMessageId: '',
    providerStatus: 'delivered',
    providerCode: '',
    providerMessage: '',
    occurredAt: undefined,
    ...report,
  };
}

export function conversationBetween({ ours, theirs }: Pair, draft: Partial<ConversationDraft> = {}): ConversationDraft {
  return {
    participantFrom: ours,
    participantTo: theirs,
    channel: 'sms',
    title: '',
    metaData: {},
    newThread: false,
    requestId: undefined,
    ...draft,
  };
}

/** Matches the error of a use case. */
export const refused = (code: string, rest: object = {}) => expect.objectContaining({ name: 'DomainError', code, ...rest });
