/** What people write, and what opens doors, goes to PostgreSQL, to the cell in Redis and back to the caller. Nowhere else. */
import { randomUUID } from 'node:crypto';
import { timestampNow } from '@bufbuild/protobuf/wkt';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { CachedEntity } from '../../gen/messaging/v1/cache_service_pb.js';
import { ConversationInclude } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageType, Provider } from '../../gen/messaging/v1/message_pb.js';
import { MessageInclude } from '../../gen/messaging/v1/message_service_pb.js';
import { patiently } from '../support/cached-service.ts';
import {
  allMethods,
  type CanaryRun,
  canaries,
  drain,
  drainInitial,
  email,
  metaData,
  ourEmail,
  ourPhone,
  received,
  sms,
  startCanaryRun,
  theirEmail,
  theirPhone,
} from '../support/canary-run.ts';
import { canaryWebhooks } from '../support/canary-webhooks.ts';
import { bearer } from '../support/identity-world.ts';
import { connectRaw } from '../support/raw-calls.ts';

describe.skipIf(inject('redis') === null)('nothing private', () => {
  let run: CanaryRun;
  /** What must be clean beside the errors, by where it was found. */
  const found: { readonly where: string; readonly text: string }[] = [];
  beforeAll(async () => {
    run = await startCanaryRun();
  });
  afterAll(() => run?.[Symbol.asyncDispose]());

  /** The calls may fail: what they say is written down. */
  const allOf = (calls: readonly Promise<unknown>[]): Promise<unknown> => Promise.allSettled(calls);

  /** What the answers are, in order. */
  async function postWebhooks(body: string): Promise<readonly number[]> {
    const statuses: number[] = [];
    for (const posted of canaryWebhooks(run.signingKey, messageId, body)) {
      const init = { method: 'POST', headers: posted.headers, body: new Uint8Array(posted.body) };
      const response = await fetch(`http://127.0.0.1:${run.service.httpPort}${posted.path}`, init);
      found.push({ where: 'an answer to a webhook', text: `${JSON.stringify([...response.headers])} ${await response.text()}` });
      statuses.push(response.status);
    }
    const { webhookRequests } = await run.providerEvents.listWebhookRequests({});
    for (const { error } of webhookRequests) found.push({ where: 'the error of a webhook request', text: error });
    return statuses;
  }

  let messageId = '';
  let conversationId = '';

  async function writes(): Promise<void> {
    const report = { provider: Provider.TWILIO, providerMessageId: 'SM1', providerMessage: `to ${theirPhone}: ${canaries.providerText}` };
    await allOf([
      run.messages.sendMessage({ message: email, requestId: randomUUID() }),
      run.messages.batchSendMessages({ requests: [{ message: sms }] }),
    ]);
    await allOf([run.messages.previewMessage({ message: sms }), run.messages.previewMessage({ message: email })]);
    await allOf([
      run.conversations.createConversation({
        participantFrom: ourEmail,
        participantTo: theirEmail,
        channelType: MessageType.EMAIL,
        title: canaries.title,
        metaData,
        newThread: true,
      }),
    ]);
    const conversation = { id: conversationId, title: canaries.title, metaData };
    await allOf([run.conversations.updateConversation({ conversation })]);
    await allOf([run.providerEvents.receiveMessage({ ...received, providerMessageId: randomUUID(), body: canaries.body })]);
    await allOf([run.providerEvents.reportDelivery({ ...report, providerEventId: randomUUID(), messageId, providerStatus: 'sent' })]);
    await allOf([
      run.providerEvents.reportDelivery({
        ...report,
        providerEventId: randomUUID(),
        messageId,
        providerStatus: 'failed',
        providerCode: '30003',
      }),
    ]);
    await allOf([run.messages.retryMessage({ id: messageId })]);
    await allOf([run.messages.cancelMessage({ id: messageId })]);
    await allOf([run.conversations.markConversationRead({ id: conversationId, throughMessageId: messageId })]);
    await allOf([run.conversations.archiveConversation({ id: conversationId })]);
    await allOf([run.conversations.closeConversation({ id: conversationId })]);
    await allOf([run.conversations.reopenConversation({ id: conversationId })]);
  }

  async function reads(): Promise<void> {
    const [id, filter] = [messageId, { address: theirPhone }];
    await allOf([
      run.messages.getMessage({ id, include: [MessageInclude.CONVERSATION, MessageInclude.EVENTS] }),
      run.messages.getMessage({ id: randomUUID() }),
      run.messages.batchGetMessages({ ids: [id, randomUUID()] }),
      run.messages.listMessages({ filter }),
      run.messages.listMessages({ pageToken: canaries.pageToken }),
      run.messages.listMessageEvents({ messageId: id }),
      drainInitial(run.messages.watchMessages({ includeInitialState: true })),
      run.conversations.getConversation({ id: conversationId, include: [ConversationInclude.MESSAGES] }),
      run.conversations.batchGetConversations({ ids: [conversationId] }),
      run.conversations.listConversations({ filter: { participant: theirPhone } }),
      run.conversations.listConversations({ pageToken: canaries.pageToken }),
      run.conversations.searchConversations({ query: canaries.query }),
      run.conversations.searchConversations({ query: canaries.title }),
      run.conversations.getConversationStatistics({ id: conversationId }),
      drainInitial(run.conversations.watchConversations({ includeInitialState: true })),
    ]);
  }

  async function otherServices(): Promise<void> {
    const suppression = { address: theirPhone, channelType: MessageType.SMS, fromAddress: ourPhone };
    await run.suppressions.createSuppression(suppression);
    await allOf([run.messages.sendMessage({ message: sms }), run.messages.previewMessage({ message: sms })]);
    await run.suppressions.deleteSuppression(suppression);
    await allOf([
      run.suppressions.createSuppression({ ...suppression, fromAddress: canaries.wrongAddress }),
      run.suppressions.getSuppression({ address: theirPhone }),
      run.suppressions.getSuppression({ address: `${canaries.wrongAddress}@` }),
      run.suppressions.listSuppressions({ pageToken: canaries.pageToken }),
      run.providerEvents.getWebhookRequest({ id: randomUUID() }),
      run.providerEvents.listWebhookRequests({ pageToken: canaries.pageToken }),
      run.providerEvents.replayWebhookRequest({ id: randomUUID() }),
      run.cache.getCacheStatistics({}),
      run.cache.inspectCacheEntry({ entity: CachedEntity.MESSAGE, id: messageId }),
      run.cache.invalidateCache({ entity: CachedEntity.MESSAGE, ids: [messageId] }),
      drain(run.cache.warmCache({ entity: CachedEntity.MESSAGE, count: 1 })),
    ]);
  }

  it('was kept from the store', async () => {
    const sent = await run.messages.sendMessage({ message: sms });
    messageId = sent.message?.id ?? '';
    conversationId = sent.message?.conversationId ?? '';
    await writes();
    await reads();
    await otherServices();
    expect(await postWebhooks(canaries.body)).toEqual([204, 204, 200, 200, 403, 200, 200, 200, 200, 200]);
    await vi.waitFor(async () => {
      await reads();
      const cells = await run.asRedisAdmin(async (admin) =>
        Promise.all([`message:${messageId}`, `conversation:${conversationId}`].map((key) => admin.get(key))),
      );
      expect(cells.join()).toContain(canaries.body);
      expect(cells.join()).toContain(canaries.title);
    }, patiently);
    // InvalidateCache has dropped what earlier reads had stored.
    await reads();
    const keys = await run.asRedisAdmin((admin) => admin.keys('*'));
    expect(keys.length).toBeGreaterThan(1);
    found.push({ where: 'a Redis key', text: keys.join('\n') });
  });

  it('is said by a refusal', async () => {
    const wrong = { ...sms, toAddress: canaries.wrongAddress };
    await allOf([
      run.messages.sendMessage({ message: wrong }),
      run.messages.sendMessage({ message: { ...sms, fromAddress: canaries.wrongAddress } }),
      run.messages.sendMessage({ message: { ...email, email: { ...email.email, subject: `${canaries.subject}\n` } } }),
      run.messages.sendMessage({ message: { ...email, email: { ...email.email, replyTo: canaries.replyTo } } }),
      run.messages.sendMessage({ message: { ...sms, body: `${canaries.body}\0` } }),
      run.messages.sendMessage({ message: { ...sms, body: canaries.body.repeat(100_000) } }),
      run.messages.sendMessage({ message: { ...sms, metaData: { [canaries.metaKey]: `${canaries.metaValue}\0` } } }),
      run.messages.sendMessage({ message: { ...sms, metaData: { [`${canaries.metaKey}\0`]: canaries.metaValue } } }),
      run.messages.sendMessage({ message: { ...sms, metaData: { [canaries.metaKey]: canaries.metaValue.repeat(10_000) } } }),
      run.messages.sendMessage({ message: { ...sms, toAddress: '+14155559999', conversationId } }),
      run.messages.sendMessage({ message: { ...sms, sendAt: { ...timestampNow(), seconds: 1n } } }),
      run.messages.getMessage({ id: canaries.wrongAddress }),
      run.messages.listMessages({ filter: { address: canaries.wrongAddress } }),
      run.conversations.updateConversation({
        conversation: { id: conversationId, title: canaries.title },
        updateMask: { paths: [canaries.wrongAddress] },
      }),
      run.conversations.createConversation({
        participantFrom: ourPhone,
        participantTo: canaries.wrongAddress,
        channelType: MessageType.SMS,
      }),
      run.providerEvents.receiveMessage({ ...received, providerMessageId: '1', body: canaries.body, fromAddress: canaries.wrongAddress }),
    ]);
    const requestId = randomUUID();
    await run.messages.sendMessage({ message: sms, requestId });
    await allOf([run.messages.sendMessage({ message: { ...sms, body: `${canaries.body} again` }, requestId })]);
    expect(run.errors.length).toBeGreaterThan(15);
  });

  it('is said by the refusal of who calls', async () => {
    const before = run.errors.length;
    const tokens = [...run.tokens.bad, `${run.tokens.good}x`, run.tokens.good.slice(1), canaries.body];
    for (const token of tokens) await allOf([run.messages.sendMessage({ message: sms }, bearer(token))]);
    expect(run.errors.length - before).toBe(tokens.length);
  });

  it('is said by the refusal of what cannot be decoded', async () => {
    await using raw = await connectRaw(run.url, { ca: run.ca });
    const authorization = `Bearer ${run.tokens.good}`;
    const path = '/messaging.v1.MessageService/SendMessage';
    const json = [
      { message: { body: { text: canaries.body } } },
      { message: { messageType: canaries.subject } },
      { message: { attachments: [{ sizeBytes: canaries.filename }] } },
      { message: { metaData: canaries.metaValue } },
      { message: { sendAt: canaries.title } },
      { message: { validityPeriod: canaries.title } },
      { message: canaries.body },
    ].map((request) => Buffer.from(JSON.stringify(request)));
    for (const body of [...json, Buffer.from(`{"message": ${canaries.body}`), Buffer.from(canaries.body)]) {
      for (const type of ['application/json', 'application/proto']) {
        const answer = await raw.call({ path, headers: { 'content-type': type, authorization }, body });
        expect(answer.status).not.toBe(200);
        found.push({ where: `the answer to undecodable ${type}`, text: `${JSON.stringify(answer.headers)} ${answer.body}` });
      }
    }
  });

  it('is said by PostgreSQL when a constraint is violated', async () => {
    await run.administer(`alter table messages add constraint no_canary check (body not like '%violates')`);
    await run.administer(`create unique index one_canary on messages (body) where body like '%once'`);
    const before = run.errors.length;
    const violating = { ...sms, body: `${canaries.body} violates` };
    const once = { ...email, body: `${canaries.body} once` };
    await allOf([
      run.messages.sendMessage({ message: violating }),
      run.providerEvents.receiveMessage({ ...received, providerMessageId: '2', body: violating.body }),
    ]);
    await run.messages.sendMessage({ message: once });
    await allOf([run.messages.sendMessage({ message: once })]);
    expect(run.errors.length - before).toBe(3);
    expect(await postWebhooks(`${canaries.body} violates`)).toEqual([204, 204, 200, 200, 403, 200, 200, 200, 200, 200]);
    await run.administer(`alter table conversations add constraint no_title check (title = '') not valid`);
    await allOf([run.conversations.updateConversation({ conversation: { id: conversationId, title: `${canaries.title} violates` } })]);
    expect(run.errors.length - before).toBe(4);
  });

  it('is said when Redis wants another password, or is gone', async () => {
    await run.asRedisAdmin(async (admin) => {
      await admin.config('SET', 'requirepass', 'another');
      await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    });
    await reads();
    await writes();
    await run.redis.stop();
    await reads();
    await writes();
  });

  it('is said when PostgreSQL is gone', async () => {
    const before = run.errors.length;
    const running = allOf([writes(), reads()]);
    await run.postgres.stop();
    await running;
    await writes();
    await reads();
    expect(run.errors.length - before).toBeGreaterThan(20);
    await allOf([run.conversations.deleteConversation({ id: conversationId })]);
  });

  it('is in a span, a log line, a metric, a key or an error after all of that', async () => {
    const metrics = await (await fetch(`http://127.0.0.1:${run.service.httpPort}/metrics`)).text();
    const readiness = await (await fetch(`http://127.0.0.1:${run.service.httpPort}/readyz`)).text();
    for (const path of ['/status', '/status.json']) {
      const headers = { authorization: `Basic ${Buffer.from(`operator:${canaries.statusToken}`).toString('base64')}` };
      const response = await fetch(`http://127.0.0.1:${run.service.httpPort}${path}`, { headers });
      expect(response.status).toBe(200);
      found.push({ where: path, text: await response.text() });
    }
    await run.service.stop();
    const [spans, log] = [run.otlp.bodies.join('\n'), run.service.output()];
    found.push({ where: 'a metric', text: metrics }, { where: 'readiness', text: readiness });
    for (const line of log.split('\n')) found.push({ where: `the log: ${line}`, text: line });
    for (const span of run.otlp.spans())
      found.push({ where: `the span ${span.name}: ${JSON.stringify(span)}`, text: JSON.stringify(span) });
    found.push({ where: 'the resource of the spans', text: JSON.stringify(run.otlp.resource()) });

    // There was something to look through.
    expect([...run.called].sort()).toEqual(allMethods.toSorted());
    expect(spans).toContain('INSERT messages');
    for (const line of ['Message cache hit', 'call failed by a bug', 'no_canary', 'one_canary', 'ECONNREFUSED'])
      expect(log).toContain(line);

    // A path to what is wrong names the caller's own key, and who has opted out is named, to the caller alone.
    const toCaller = (text: string): string => {
      const said = text.replaceAll(`meta_data.${canaries.metaKey}`, 'meta_data.…');
      return said.includes('RECIPIENT_OPTED_OUT') ? said.replaceAll(theirPhone, '…') : said;
    };
    expect(run.errors.some(({ text }) => text.includes('RECIPIENT_OPTED_OUT'))).toBe(true);
    const errors = run.errors.map(({ where, text }) => ({ where, text: toCaller(text) }));
    const told = [...found, ...errors].flatMap(({ where, text }) => run.secretsIn(text).map((name) => `${name} is in ${where}`));
    expect(told).toEqual([]);
  });
});
