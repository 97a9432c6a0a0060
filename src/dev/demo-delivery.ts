/**
 * The second act of `make demo`: an SMS goes out through the simulator, its reports come back out of order and twice, the guest answers,
 * opts out and in again, and a watcher prints all of it live.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { styleText } from 'node:util';
import {
  Direction,
  MessageEvent_Type,
  MessageStatus,
  MessageType,
  type MessagingClient,
  MessagingError,
  type WatchMessagesResponse_Change,
} from '../client/messaging-client.ts';

export interface Participants {
  readonly shop: string;
  readonly guest: string;
}

/** Every report comes twice, and none in its order. */
const CHAOTIC = { everyStatus: true, duplicate: 1, duplicateCopies: 1, reorder: 1, callbackDelayMs: [150, 500] };
const PATIENCE_MS = 15_000;
const STATUS_COLOUR = {
  [MessageStatus.UNSPECIFIED]: 'white',
  [MessageStatus.PENDING]: 'yellow',
  [MessageStatus.SENT]: 'cyan',
  [MessageStatus.DELIVERED]: 'green',
  [MessageStatus.FAILED]: 'red',
} as const;

async function control(simulator: string, method: 'GET' | 'PUT' | 'POST', path: string, body?: object): Promise<unknown> {
  const response = await fetch(`${simulator}/simulator${path}`, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (!response.ok) throw new Error(`the simulator answered ${response.status}: ${await response.text()}`);
  return response.json();
}

function say(startedMs: number, who: string, text: string): void {
  const seconds = ((performance.now() - startedMs) / 1_000).toFixed(2).padStart(6);
  console.log(`  ${styleText('dim', `${seconds} s`)}  ${who.padEnd(8)} ${text}`);
}

function tellChange(startedMs: number, { message, event }: WatchMessagesResponse_Change): void {
  if (message === undefined || event === undefined) return;
  const status = styleText(STATUS_COLOUR[event.statusAfter], MessageStatus[event.statusAfter].padEnd(9));
  const isMoot = event.type === MessageEvent_Type.PROVIDER_STATUS && event.statusBefore === event.statusAfter;
  const changed = isMoot ? styleText('dim', 'changes nothing') : '';
  const word = event.providerStatus === '' ? MessageEvent_Type[event.type].toLowerCase() : `provider says ${event.providerStatus}`;
  const what = message.direction === Direction.INBOUND ? `“${message.body}”` : word;
  say(startedMs, 'watcher', `#${String(event.sequence).padEnd(3)} ${status} ${what} ${changed}`.trimEnd());
}

/** Prints every change of the guest's messages until it is left. */
interface Watcher extends AsyncDisposable {
  /** Resolves with the first change, from the beginning, for which `isIt` holds. */
  until(isIt: (change: WatchMessagesResponse_Change) => boolean): Promise<void>;
}

async function watch(client: MessagingClient, guest: string, startedMs: number): Promise<Watcher> {
  const stopping = new AbortController();
  const seen: WatchMessagesResponse_Change[] = [];
  const ready = Promise.withResolvers<void>();
  const items = client.messages.watchMessages({ filter: { address: guest }, includeInitialState: true }, { signal: stopping.signal });
  const running = (async () => {
    for await (const { payload } of items) {
      if (payload.case === 'progress' && payload.value.initialStateComplete) ready.resolve();
      if (payload.case !== 'change') continue;
      seen.push(payload.value);
      tellChange(startedMs, payload.value);
    }
  })().catch((error: unknown) => {
    ready.reject(error);
    if (!stopping.signal.aborted) console.error(error);
  });
  await ready.promise;
  return {
    async until(isIt) {
      const untilMs = performance.now() + PATIENCE_MS;
      while (!seen.some(isIt)) {
        if (performance.now() > untilMs) throw new Error(`nothing more was seen for ${PATIENCE_MS / 1_000} s`);
        await wait(20);
      }
    },
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await running;
    },
  };
}

/** `simulator`: its URL. */
export async function showDelivery(client: MessagingClient, simulator: string, { shop, guest }: Participants): Promise<void> {
  console.log(`\n  ${styleText('bold', 'A message goes out, and its guest answers')}`);
  const startedMs = performance.now();
  const draft = { fromAddress: shop, toAddress: guest, messageType: MessageType.SMS, body: 'Your table for two is ready.' };
  const receive = (body: string) => control(simulator, 'POST', '/receive', { type: 'sms', from: guest, to: shop, body });
  const { faults } = (await control(simulator, 'GET', '')) as { readonly faults: object };
  await control(simulator, 'PUT', '/faults', CHAOTIC);
  try {
    await using watcher = await watch(client, guest, startedMs);
    say(startedMs, 'shop', 'SendMessage');
    const { message } = await client.messages.sendMessage({ message: draft });
    const id = message?.id ?? '';
    await watcher.until(({ event }) => event?.messageId === id && event.providerStatus === 'delivered');
    await untilQuiet(simulator);
    await tellReports(client, simulator, id, startedMs);

    say(startedMs, 'guest', 'answers');
    await receive('On our way!');
    await watcher.until((change) => change.message?.body === 'On our way!');

    say(startedMs, 'guest', 'STOP');
    await receive('STOP');
    say(startedMs, 'shop', 'SendMessage');
    await client.messages.sendMessage({ message: draft }).catch((error: unknown) => {
      if (!(error instanceof MessagingError)) throw error;
      say(startedMs, 'service', styleText('red', `${error.reason}: ${error.message}`));
    });

    say(startedMs, 'guest', 'START');
    await receive('START');
    say(startedMs, 'shop', 'SendMessage');
    const again = await client.messages.sendMessage({ message: { ...draft, body: 'Welcome back.' } });
    await watcher.until(({ event }) => event?.messageId === again.message?.id && event?.providerStatus === 'delivered');
  } finally {
    // Those of `make run`, or what somebody has set since.
    await control(simulator, 'PUT', '/faults', faults);
  }
}

/** Resolves when the simulator has nothing more to report. */
async function untilQuiet(simulator: string): Promise<void> {
  const untilMs = performance.now() + PATIENCE_MS;
  for (;;) {
    const { pending } = (await control(simulator, 'GET', '')) as { readonly pending: number };
    if (pending === 0 || performance.now() > untilMs) return;
    await wait(50);
  }
}

/** How often the provider told, and what it came to. */
async function tellReports(client: MessagingClient, simulator: string, id: string, startedMs: number): Promise<void> {
  const journal = (await control(simulator, 'GET', `/journal?messageId=${id}`)) as {
    readonly messages: readonly { readonly callbacks: readonly unknown[] }[];
  };
  const posted = journal.messages.reduce((sum, { callbacks }) => sum + callbacks.length, 0);
  const { events } = await client.messages.listMessageEvents({ messageId: id });
  const recorded = events.filter(({ type }) => type === MessageEvent_Type.PROVIDER_STATUS).length;
  const accepted = journal.messages.length;
  say(startedMs, 'service', `the provider accepted ${accepted} and reported ${posted} times; ${recorded} events are recorded`);
}
