/**
 * Two services over the same rows, one with the lean lane and one without, and calls that leave the rows as they are: reads, requests
 * that were carried out before, and such as must be refused. So whoever is asked first, both have the same to answer.
 */
import { randomUUID } from 'node:crypto';
import { create, type DescMethodUnary, type MessageInitShape, type MessageShape, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import pg from 'pg';
import { Health } from '../../gen/grpc/health/v1/health_pb.js';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageType, Provider } from '../../gen/messaging/v1/message_pb.js';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { SuppressionService } from '../../gen/messaging/v1/suppression_service_pb.js';
import { anyRequest, unaryMethods } from './any-request.ts';
import { startTestApp, type TestApp } from './apps.ts';
import { callsTo } from './calls.ts';
import { createDatabase } from './database.ts';
import { servicesOf } from './protocols.ts';
import { until } from './until.ts';

export interface AnyCall {
  readonly method: DescMethodUnary;
  readonly message: Uint8Array;
  /** Only this very call is known to leave all as it is; without a field, or with another id, it might not. */
  readonly fragile: boolean;
}

export interface LaneWorld extends AsyncDisposable {
  /** With the lean lane, and without it. */
  readonly apps: readonly [TestApp, TestApp];
  readonly calls: fc.Arbitrary<AnyCall>;
  /** Of rows that exist, answered from the cache once it is warm. */
  readonly cachedReads: fc.Arbitrary<AnyCall>;
  /** Resolves when the cache has them all. */
  warm(): Promise<void>;
  /** Changes when any row does. */
  fingerprint(): Promise<string>;
}

interface Primed {
  readonly messageIds: readonly string[];
  readonly conversationIds: readonly string[];
  readonly calls: readonly AnyCall[];
  readonly requestIds: readonly string[];
  /** Of messages that are not to be canceled, and not to be retried. */
  readonly settled: readonly string[];
}

function callOf<Method extends DescMethodUnary>(method: Method, init: MessageInitShape<Method['input']>): AnyCall {
  return { method, message: toBinary(method.input, create(method.input, init)), fragile: true };
}

const PROVIDER_ID = 'known to the provider';
const us = '+14155552671';
const sms = (toAddress: string, body: string) => ({ fromAddress: us, toAddress, body, messageType: MessageType.SMS });
/** There is one already. */
const optOut = { address: '+14155552673', channelType: MessageType.SMS, fromAddress: '' };
const email = (subject: string) => ({
  fromAddress: 'us@example.com',
  toAddress: 'them@example.com',
  messageType: MessageType.EMAIL,
  email: { subject, htmlBody: `<p>${subject}</p>` },
});

/** Rows in every state, and the calls that made them. */
async function prime(app: TestApp): Promise<Primed> {
  const { messages, conversations, providerEvents, suppressions } = servicesOf(app);
  const { sendMessage } = MessageService.method;
  const {
    createConversation,
    closeConversation,
    archiveConversation,
    reopenConversation,
    updateConversation,
    markConversationRead,
    deleteConversation,
  } = ConversationService.method;
  const { receiveMessage, reportDelivery } = ProviderEventService.method;
  const requestIds = Array.from({ length: 4 }, () => randomUUID());
  const [first = '', second = '', third = '', fourth = ''] = requestIds;
  const drafts = [
    { message: sms('+14155552672', 'hello'), requestId: first },
    { message: { ...sms('+14155552673', 'Grüße '.repeat(200)), metaData: { n: 1.5, list: [true, null, 'x'] } }, requestId: second },
    { message: { ...email('news'), body: 'long '.repeat(1_500) }, requestId: third },
  ];
  const sent = [];
  for (const draft of drafts) sent.push((await messages.sendMessage(draft)).message);
  const more = Array.from({ length: 12 }, (_, index) => ({ message: sms('+14155552672', `message ${index}: ${'x'.repeat(100 * index)}`) }));
  sent.push(...(await messages.batchSendMessages({ requests: more })).responses.map(({ message }) => message));
  const created = { participantFrom: us, participantTo: '+14155552679', channelType: MessageType.SMS, title: 'known', requestId: fourth };
  const { conversation: known } = await conversations.createConversation(created);
  const report = {
    provider: Provider.TWILIO,
    providerEventId: PROVIDER_ID,
    messageId: sent[0]?.id ?? '',
    providerMessageId: 'SM1',
    providerStatus: 'delivered',
  };
  const mailReport = { ...report, provider: Provider.SENDGRID, messageId: sent[2]?.id ?? '', providerMessageId: 'SG1' };
  await providerEvents.reportDelivery(report);
  await providerEvents.reportDelivery(mailReport);
  const text = {
    provider: Provider.TWILIO,
    providerMessageId: PROVIDER_ID,
    messageType: MessageType.SMS,
    fromAddress: '+14155552672',
    toAddress: us,
    body: 'hi',
  };
  const mail = {
    ...text,
    provider: Provider.SENDGRID,
    messageType: MessageType.EMAIL,
    fromAddress: 'them@example.com',
    toAddress: 'us@example.com',
    email: { subject: 'hi' },
  };
  const { message: received } = await providerEvents.receiveMessage(text);
  await providerEvents.receiveMessage(mail);
  await messages.cancelMessage({ id: sent[1]?.id ?? '' });
  const conversationIds = [...new Set(sent.map((message) => message?.conversationId ?? '')), known?.id ?? ''];
  const [open = '', closed = '', archived = ''] = conversationIds;
  await conversations.markConversationRead({ id: open, throughMessageId: received?.id ?? '' });
  await conversations.closeConversation({ id: closed });
  await conversations.archiveConversation({ id: archived });
  await conversations.updateConversation({ conversation: { id: archived, title: 'archived' } });
  await suppressions.createSuppression(optOut);
  await suppressions.createSuppression({ ...optOut, address: '+14155552672', fromAddress: '+14155552675' });
  const gone = randomUUID();
  const calls = [
    ...drafts.map((draft) => callOf(sendMessage, draft)),
    callOf(createConversation, created),
    callOf(reportDelivery, report),
    callOf(receiveMessage, text),
    callOf(receiveMessage, mail),
    callOf(markConversationRead, { id: open, throughMessageId: received?.id ?? '' }),
    callOf(closeConversation, { id: closed }),
    callOf(archiveConversation, { id: archived }),
    callOf(reopenConversation, { id: open }),
    callOf(updateConversation, { conversation: { id: archived, title: 'archived' } }),
    callOf(SuppressionService.method.createSuppression, optOut),
    callOf(deleteConversation, { id: gone, allowMissing: true }),
  ];
  const settled = [sent[0]?.id ?? '', received?.id ?? '', gone, 'malformed', ''];
  return { messageIds: sent.map((message) => message?.id ?? ''), conversationIds, calls, requestIds, settled };
}

type Fields = Readonly<Record<string, unknown>>;

/** What makes a request to each method that writes harmless. */
function harmless({ requestIds, settled }: Primed): Readonly<Record<string, (request: Fields, index: number) => Fields>> {
  const requestId = (index: number) => requestIds[index % requestIds.length];
  const id = (_: Fields, index: number) => ({ id: settled[index % settled.length] });
  const stale = () => ({ etag: 'v0' });
  return {
    SendMessage: (_, index) => ({ requestId: requestId(index) }),
    BatchSendMessages: ({ requests }) => ({
      requests: (requests as Fields[]).map((request, index) => ({ ...request, requestId: requestId(index) })),
    }),
    CancelMessage: id,
    RetryMessage: id,
    CreateConversation: (_, index) => ({ requestId: requestId(index) }),
    UpdateConversation: ({ conversation }) =>
      conversation === undefined ? {} : { conversation: { ...(conversation as Fields), etag: 'v0' } },
    MarkConversationRead: () => ({ throughMessageId: randomUUID() }),
    ArchiveConversation: stale,
    ReopenConversation: stale,
    CloseConversation: stale,
    DeleteConversation: stale,
    ReceiveMessage: () => ({ providerMessageId: PROVIDER_ID }),
    ReportDelivery: () => ({ providerEventId: PROVIDER_ID }),
    // No phone number is an address of email.
    CreateSuppression: (_, index) => (index % 2 === 0 ? optOut : { address: optOut.address, channelType: MessageType.EMAIL }),
    DeleteSuppression: () => ({ address: '+14155552676' }),
  };
}

function anyCallTo(method: DescMethodUnary, primed: Primed): fc.Arbitrary<AnyCall> {
  const fix = harmless(primed)[method.name];
  const ids = [...primed.messageIds, ...primed.conversationIds];
  const requests = anyRequest(method.input, () => ids);
  return fc.tuple(requests, fc.nat(100)).map(([request, index]) => {
    const fixed = (fix === undefined ? request : { ...request, ...fix(request as Fields, index) }) as MessageShape<typeof method.input>;
    return { method, message: toBinary(method.input, fixed), fragile: fix !== undefined };
  });
}

const { getMessage, batchGetMessages, listMessages } = MessageService.method;
const { getConversation, batchGetConversations } = ConversationService.method;

/** Strong reads: whether an older answer would do, and how old it is, depends on the time. */
function readsOf({ messageIds, conversationIds }: Primed): fc.Arbitrary<AnyCall> {
  const some = <Item>(items: readonly Item[]) => fc.subarray([...items], { minLength: 1 });
  return fc.oneof(
    fc.tuple(fc.constantFrom(...messageIds), fc.subarray([1, 2])).map(([id, include]) => callOf(getMessage, { id, include })),
    fc.tuple(fc.constantFrom(...conversationIds), fc.subarray([1])).map(([id, include]) => callOf(getConversation, { id, include })),
    some(messageIds).map((ids) => callOf(batchGetMessages, { ids })),
    some(conversationIds).map((ids) => callOf(batchGetConversations, { ids })),
  );
}

/** Nothing here is made by chance alone: its answers are long, and begin a next page. */
const pages = fc
  .tuple(fc.nat(20), fc.constantFrom('+14155552672', ''))
  .map(([pageSize, address]) => callOf(listMessages, { pageSize, filter: { address } }));

const FINGERPRINT = `
  select table_name, (xpath('/row/hash/text()', query_to_xml(format('select md5(coalesce(string_agg(t::text, chr(10) order by t::text), %L)) as hash from %I t', '', table_name), true, true, '')))[1]::text as hash
  from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE' and table_name not like 'cache%' order by 1`;

export async function startLaneWorld(env: Readonly<Record<string, string>> = {}): Promise<LaneWorld> {
  await using opening = new AsyncDisposableStack();
  const database = opening.use(await createDatabase());
  const sql = opening.adopt(new pg.Client({ connectionString: database.url }), (client) => client.end());
  await sql.connect();
  const start = async (lean: boolean) => opening.use(await startTestApp({ DATABASE_URL: database.url, ...env, LEAN_LANE: String(lean) }));
  const apps = [await start(true), await start(false)] as const;
  const primed = await prime(apps[1]);
  const health = Health.methods.filter(({ methodKind }) => methodKind === 'unary') as DescMethodUnary[];
  const cachedReads = readsOf(primed);
  const opened = opening.move();
  return {
    apps,
    calls: fc.oneof(
      { weight: 8, arbitrary: fc.oneof(...[...unaryMethods, ...health].map((method) => anyCallTo(method, primed))) },
      { weight: 3, arbitrary: fc.oneof(cachedReads, pages) },
      { weight: 1, arbitrary: fc.constantFrom(...primed.calls) },
    ),
    cachedReads,
    async warm() {
      for (const app of apps) {
        await until('the cache is trusted', () => app.logLines().some(({ msg }) => msg === 'cache is trusted'));
        const { readMessage, readConversation } = callsTo(app);
        const hits = async () => {
          const reads = [...primed.messageIds.map(readMessage), ...primed.conversationIds.map(readConversation)];
          return (await Promise.all(reads)).every(({ source }) => source === 'hit');
        };
        await until('all is cached', hits);
      }
    },
    fingerprint: async () => JSON.stringify((await sql.query(FINGERPRINT)).rows),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}
