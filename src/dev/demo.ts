/**
 * `make demo`: the cache at work against a running service, for a message and for a conversation: miss, hit, update, hit with the new
 * value, invalidation, miss, hit; then a message on its way to a guest and back, see demo-delivery.ts.
 * Every line has the trace id under which the call can be found in Jaeger.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { styleText } from 'node:util';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import {
  CachedEntity,
  createMessagingClient,
  MessageType,
  type MessagingClient,
  MessagingError,
  Provider,
} from '../client/messaging-client.ts';
import { clientTls } from './certs-folder.ts';
import { showDelivery } from './demo-delivery.ts';
import { findRun } from './run-lock.ts';

interface Observed {
  readonly step: string;
  readonly source: string;
  readonly ms: number;
  readonly traceId: string;
}

type Read = (options: {
  metadata: Record<string, string>;
  onHeaders: (headers: Readonly<Record<string, string>>) => void;
}) => Promise<unknown>;

/** Reads whose median is shown: one alone says more about the machine than about the cache. */
const LATER_MS = 3_600_000;
const SAMPLES = 50;
/** A fill follows its answer; by this many reads it has long arrived. */
const MAX_READS_UNTIL_HIT = 200;

async function observe(step: string, read: Read): Promise<Observed> {
  const traceId = randomBytes(16).toString('hex');
  let source = '-';
  const started = performance.now();
  await read({
    metadata: { traceparent: `00-${traceId}-${randomBytes(8).toString('hex')}-01` },
    onHeaders: (headers) => {
      source = headers['x-cache'] ?? '-';
    },
  });
  return { step, source, ms: performance.now() - started, traceId };
}

async function readUntilHit(step: string, read: Read): Promise<Observed> {
  let last = await observe(step, read);
  for (let reads = 1; last.source !== 'hit' && last.source !== 'bypass' && reads < MAX_READS_UNTIL_HIT; reads += 1) {
    await wait(1);
    last = await observe(step, read);
  }
  return last;
}

function median(values: readonly number[]): number {
  return values.toSorted((left, right) => left - right)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function printTable(title: string, rows: readonly Observed[]): void {
  const colour = { hit: 'green', miss: 'yellow', bypass: 'red' } as const;
  console.log(`\n  ${styleText('bold', title)}`);
  console.log(styleText('dim', `  ${'step'.padEnd(34)} ${'cache'.padEnd(7)} ${'ms'.padStart(7)}  trace id`));
  for (const { step, source, ms, traceId } of rows) {
    const paint = colour[source as keyof typeof colour] ?? 'white';
    console.log(`  ${step.padEnd(34)} ${styleText(paint, source.padEnd(7))} ${ms.toFixed(2).padStart(7)}  ${styleText('dim', traceId)}`);
  }
}

/** A new pair of valid numbers, so that every run starts with an empty conversation. */
function freshNumbers() {
  const number = (): string => `+1415555${String(randomInt(2_000, 9_999))}`;
  return { shop: number(), guest: number() };
}

async function readAfterInvalidation(client: MessagingClient, method: string, entity: CachedEntity, id: string, read: Read) {
  const invalidate: Read = (options) => client.cache.invalidateCache({ entity, ids: [id] }, options);
  return [
    await observe('InvalidateCache', invalidate),
    await observe(`${method} after that`, read),
    await readUntilHit(`${method} again`, read),
  ];
}

async function showMessage(client: MessagingClient): Promise<string> {
  const { shop, guest } = freshNumbers();
  // Later, so that nothing but this demo changes it.
  const draft = { fromAddress: shop, toAddress: guest, messageType: MessageType.SMS, body: 'Your table for two is ready.' };
  const sendAt = timestampFromMs(Date.now() + LATER_MS);
  const { message } = await client.messages.sendMessage({ message: { ...draft, sendAt } });
  const id = message?.id ?? '';
  const read: Read = (options) => client.messages.getMessage({ id }, options);
  const rows = [await observe('GetMessage, first time', read), await readUntilHit('GetMessage again', read)];
  const report = { provider: Provider.TWILIO, providerEventId: randomBytes(8).toString('hex'), messageId: id, providerStatus: 'delivered' };
  rows.push(await observe('ReportDelivery: delivered', (options) => client.providerEvents.reportDelivery(report, options)));
  rows.push(await observe('GetMessage after the update', read));
  rows.push(...(await readAfterInvalidation(client, 'GetMessage', CachedEntity.MESSAGE, id, read)));
  printTable('A message', rows);
  return message?.conversationId ?? '';
}

async function showConversation(client: MessagingClient, id: string): Promise<void> {
  const read: Read = (options) => client.conversations.getConversation({ id }, options);
  const rows = [await observe('GetConversation, first time', read), await readUntilHit('GetConversation again', read)];
  const update = { conversation: { id, title: 'Table for two' } };
  rows.push(await observe('UpdateConversation: title', (options) => client.conversations.updateConversation(update, options)));
  rows.push(await observe('GetConversation after the update', read));
  rows.push(...(await readAfterInvalidation(client, 'GetConversation', CachedEntity.CONVERSATION, id, read)));
  printTable('Its conversation', rows);
}

async function showSpeed(client: MessagingClient): Promise<void> {
  const misses: number[] = [];
  const hits: number[] = [];
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    const { shop, guest } = freshNumbers();
    const providerMessageId = randomBytes(16).toString('hex');
    const received = { provider: Provider.TWILIO, providerMessageId, messageType: MessageType.SMS, fromAddress: guest, toAddress: shop };
    const { message } = await client.providerEvents.receiveMessage({ ...received, body: 'Is our table ready?' });
    const read: Read = (options) => client.messages.getMessage({ id: message?.id ?? '' }, options);
    misses.push((await observe('', read)).ms);
    await readUntilHit('', read);
    hits.push((await observe('', read)).ms);
  }
  const [miss, hit] = [median(misses), median(hits)];
  console.log(
    `\n  Median of ${SAMPLES}: miss ${miss.toFixed(2)} ms, hit ${hit.toFixed(2)} ms: a hit is ${(miss / hit).toFixed(1)} times as fast.\n`,
  );
}

const run = process.argv[2] === undefined ? await findRun() : undefined;
const address = process.argv[2] ?? run?.address?.grpc ?? 'localhost:50051';
// Real providers would send real messages.
const simulator = run?.address?.simulator;
try {
  using client = createMessagingClient(address, run?.address?.certs ? { tls: clientTls('operator') } : {});
  console.log(`  Service at ${address}`);
  const conversationId = await showMessage(client);
  await showConversation(client, conversationId);
  await showSpeed(client);
  if (simulator !== undefined) await showDelivery(client, simulator, freshNumbers());
} catch (error) {
  if (!(error instanceof MessagingError)) throw error;
  console.error(`  No service answers at ${address}: ${error.message}\n  Start one with \`make run\` in another terminal.`);
  process.exitCode = 1;
}
