/** WatchMessages as callers see it: what happens, in order, and where a stream goes on. */
import { randomUUID } from 'node:crypto';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MessageEvent_Type as EventType, MessageStatus, Provider } from '../../gen/messaging/v1/message_pb.js';
import type { WatchMessagesRequestSchema, WatchMessagesResponse } from '../../gen/messaging/v1/message_service_pb.js';
import { createMessagingClient } from '../../src/client/messaging-client.ts';
import { startTestApp, type TestApp } from '../support/apps.ts';
import { type Calls, callsTo } from '../support/calls.ts';
import { createDatabase } from '../support/database.ts';
import { type ProtocolName, protocols, servicesOf } from '../support/protocols.ts';
import { scrape } from '../support/scrape.ts';
import { until } from '../support/until.ts';
import { begun, follow, type Watcher } from '../support/watchers.ts';

type Request = MessageInitShape<typeof WatchMessagesRequestSchema>;
type MessageWatcher = Watcher<WatchMessagesResponse>;

const opened = new AsyncDisposableStack();
let app: TestApp;
let calls: Calls;
beforeAll(async () => {
  const { url } = opened.use(await createDatabase());
  app = opened.use(await startTestApp({ DATABASE_URL: url }));
  calls = callsTo(app);
});
afterAll(() => opened.disposeAsync());

const watch = (request: Request): MessageWatcher => follow((signal) => calls.messages.watchMessages(request, { signal }));
const changes = ({ items }: MessageWatcher) => items.flatMap(({ payload }) => (payload.case === 'change' ? [payload.value] : []));
const progress = ({ items }: MessageWatcher) => items.flatMap(({ payload }) => (payload.case === 'progress' ? [payload.value] : []));
const ids = (watcher: MessageWatcher) => changes(watcher).map(({ message }) => message?.id);
const tokens = ({ items }: MessageWatcher) => items.flatMap(({ payload, resumeToken }) => (payload.case === 'change' ? [resumeToken] : []));
const types = (watcher: MessageWatcher) => changes(watcher).map(({ event }) => event?.type);
const sees = (watcher: MessageWatcher, count: number) => watcher.sees(`${count} changes`, () => changes(watcher).length >= count);
/** What was sent shortly before a stream began may be told, too. */
const told = (watcher: MessageWatcher, id: string) => watcher.sees('the message', () => ids(watcher).includes(id));
/** One that no other test sends to. */
let numbers = 0;
function freshNumber(): string {
  numbers += 1;
  return `+1415555${3_000 + numbers}`;
}
const report = (messageId: string, providerStatus: string) =>
  calls.providerEvents.reportDelivery({ provider: Provider.TWILIO, providerEventId: randomUUID(), messageId, providerStatus });

/** A message that was sent, reported and delivered, and one that was canceled: five events. */
async function fiveEvents(toAddress: string): Promise<readonly [string, string]> {
  const sent = await calls.send({ toAddress });
  await report(sent.id, 'sent');
  await report(sent.id, 'delivered');
  const canceled = await calls.send({ toAddress });
  await calls.messages.cancelMessage({ id: canceled.id });
  return [sent.id, canceled.id];
}
const FIVE = [
  EventType.CREATED,
  EventType.PROVIDER_STATUS,
  EventType.PROVIDER_STATUS,
  EventType.CREATED,
  EventType.CANCELED,
] satisfies EventType[];

describe('WatchMessages', () => {
  it.each(protocols)('tells what happens, in order, through %s', async (protocol: ProtocolName) => {
    const { messages } = servicesOf(app, protocol);
    const address = freshNumber();
    await using watcher = await begun(follow((signal) => messages.watchMessages({ filter: { address } }, { signal, timeoutMs: 60_000 })));
    const [sent, canceled] = await fiveEvents(address);
    await sees(watcher, 5);
    expect(types(watcher)).toEqual(FIVE);
    expect(ids(watcher)).toEqual([sent, sent, sent, canceled, canceled]);
    const last = changes(watcher).at(-1);
    expect(last?.message).toEqual((await calls.readMessage(canceled)).message);
    expect(last?.event).toMatchObject({ statusBefore: MessageStatus.PENDING, statusAfter: MessageStatus.FAILED, messageId: canceled });
  });

  it('tells the package that other teams import', async () => {
    using client = createMessagingClient(`127.0.0.1:${app.grpcPort}`);
    const address = freshNumber();
    await using watcher = await begun(follow((signal) => client.messages.watchMessages({ filter: { address } }, { signal })));
    await fiveEvents(address);
    await sees(watcher, 5);
    expect(types(watcher)).toEqual(FIVE);
  });

  it('goes on after any item, exactly', async () => {
    const address = freshNumber();
    const filter = { address };
    await using watcher = await begun(watch({ filter }));
    await fiveEvents(address);
    await sees(watcher, 5);
    const events = changes(watcher).map(({ event }) => event?.id);
    for (const [index, resumeToken] of tokens(watcher).entries()) {
      await using resumed = watch({ filter, resumeToken, includeInitialState: true });
      await sees(resumed, 4 - index);
      await resumed.sees('a sign of life', (items) => items.length > 4 - index);
      expect(tokens(resumed)).toEqual(tokens(watcher).slice(index + 1));
      expect(changes(resumed).map(({ event }) => event?.id)).toEqual(events.slice(index + 1));
    }
  });

  it.each([
    ['the conversation', ({ conversationId }: { conversationId: string }) => ({ conversationIds: [conversationId] })],
    ['the address in another spelling', ({ toAddress }: { toAddress: string }) => ({ address: toAddress.replace('+1415', '+1 (415) ') })],
  ])('tells only what matches: %s', async (_, filterOf) => {
    const first = await calls.send({ toAddress: freshNumber() });
    await using watcher = await begun(watch({ filter: filterOf(first) }));
    const other = await calls.send({ toAddress: freshNumber() });
    const matching = await calls.send({ toAddress: first.toAddress });
    await told(watcher, matching.id);
    expect(ids(watcher)).not.toContain(other.id);
  });

  it('tells only what matches: the status, as it is after the change', async () => {
    const address = freshNumber();
    await using watcher = await begun(watch({ filter: { address, statuses: [MessageStatus.FAILED] } }));
    const [, canceled] = await fiveEvents(address);
    // Its creation may be told of too: a message is told as it is by then.
    await watcher.sees('the cancellation', () => types(watcher).includes(EventType.CANCELED));
    expect(new Set(ids(watcher))).toEqual(new Set([canceled]));
  });

  it('gives signs of life with a token that has moved on', async () => {
    const address = freshNumber();
    await using watcher = await begun(watch({ filter: { address }, progressInterval: { seconds: 1n } }));
    const first = watcher.token();
    // None of its business, and behind it.
    await calls.send({ toAddress: freshNumber() });
    await watcher.sees('another token', () => watcher.token() !== first);
    expect(changes(watcher)).toEqual([]);
    expect(progress(watcher).every(({ initialStateComplete }) => !initialStateComplete)).toBe(true);
    const before = watcher.items.length;
    await watcher.sees('more signs of life', (items) => items.length >= before + 2);
  });

  it('is over when its caller leaves', async () => {
    const open = async () => (await scrape(app)).sum('watch_streams', { kind: 'messages' });
    await until('none is open', async () => (await open()) === 0);
    const watchers = [await begun(watch({})), await begun(watch({})), await begun(watch({ includeInitialState: true }))];
    expect(await open()).toBe(3);
    for (const watcher of watchers) await watcher.leave();
    await until('none is open', async () => (await open()) === 0);
  });
});

describe('the initial state', () => {
  it('comes first, then that it is complete, then what happens', async () => {
    const toAddress = freshNumber();
    const sent = [await calls.send({ toAddress }), await calls.send({ toAddress }), await calls.send({ toAddress })];
    await using watcher = watch({ filter: { address: toAddress }, includeInitialState: true });
    await watcher.sees('that it is complete', () => progress(watcher).some(({ initialStateComplete }) => initialStateComplete));
    expect(ids(watcher).slice(0, 3)).toEqual(sent.map(({ id }) => id).reverse());
    expect(types(watcher).slice(0, 3)).toEqual([undefined, undefined, undefined]);
    const later = await calls.send({ toAddress });
    await told(watcher, later.id);
    expect(types(watcher).at(-1)).toBe(EventType.CREATED);
  });

  it('goes on where it was cut off, and misses nothing of what happened meanwhile', async () => {
    const toAddress = freshNumber();
    const COUNT = 250;
    const sms = { fromAddress: '+14155552671', toAddress, body: 'x' };
    for (let left = COUNT; left > 0; left -= 50) {
      await calls.messages.batchSendMessages({ requests: Array.from({ length: 50 }, () => ({ message: sms })) });
    }
    const filter = { address: toAddress };
    const listed = new Set<string | undefined>();
    let resumeToken = '';
    let late: string | undefined;
    for (let round = 0; round < 100; round += 1) {
      const leaving = new AbortController();
      let items = 0;
      let isComplete = false;
      try {
        for await (const item of calls.messages.watchMessages(
          { filter, resumeToken, includeInitialState: true },
          { signal: leaving.signal },
        )) {
          resumeToken = item.resumeToken;
          if (item.payload.case === 'change') listed.add(item.payload.value.message?.id);
          isComplete ||= item.payload.case === 'progress' && item.payload.value.initialStateComplete;
          items += 1;
          if (items === 70 || isComplete) leaving.abort();
        }
      } catch (error) {
        if (!leaving.signal.aborted) throw error;
      }
      late ??= (await calls.send({ toAddress })).id;
      if (isComplete) break;
    }
    expect(listed.size).toBe(COUNT);
    await using rest = watch({ filter, resumeToken });
    await told(rest, late ?? '');
  });
});
