/** Callers that read and write through the client package and take no failure for an answer, and what they were told. */
import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import {
  createMessagingClient,
  type MessagingClient,
  type MessagingClientOptions,
  MessagingError,
  type Retry,
  status,
} from '../../src/client/messaging-client.ts';
import { between, type Random, seededRandom, seedOf } from '../support/seeded-random.ts';

export interface LoadResult {
  readonly calls: number;
  /** As the callers saw them, in words. */
  readonly failures: readonly string[];
  /** Calls of which at least one attempt was lost, and how the transport or the service put it. */
  readonly retried: number;
  readonly reasons: Readonly<Record<string, number>>;
  readonly slowestMs: number;
  /** Of messages that were acknowledged: id by body. */
  readonly acknowledged: ReadonlyMap<string, string>;
}

export interface Load {
  /** Ends every caller after its present call. */
  stop(): Promise<LoadResult>;
}

const CALLERS_PER_CLIENT = 3;
const READ_SHARE = 0.6;
/** So that a run on a slow machine tells of lost calls, not of the machine. */
const DEADLINE_MS = 30_000;
const CONVERSATIONS = 40;
const KEEPALIVE_MS = 30_000;

/** grpc-js lets clients with equal options share one connection; the kernel would give it to one process. */
export function clientOfItsOwn(address: string, index: number, options: MessagingClientOptions): MessagingClient {
  return createMessagingClient(address, { deadlineMs: DEADLINE_MS, keepaliveTimeMs: KEEPALIVE_MS + index, ...options });
}

export interface LoadOptions {
  readonly address: string;
  readonly access: MessagingClientOptions;
  readonly clients: number;
  readonly seed: number;
  /** Begins every body. */
  readonly label: string;
  readonly attempts: number | undefined;
}

export function startLoad({ address, access, clients, seed, label, attempts: maxAttempts }: LoadOptions): Load {
  const acknowledged = new Map<string, string>();
  const bodies: string[] = [];
  const failures: string[] = [];
  const reasons: Record<string, number> = {};
  let [calls, retried, slowestMs, stopping] = [0, 0, 0, false];

  const onRetry = ({ attempts, error }: Retry): void => {
    if (attempts === 1) retried += 1;
    const reason = `${status[error.code]} ${error.reason || error.message.replace(/^[A-Z_]+: /, '').replace(/\(.*|\d{4}-.*| Last error.*/g, '')}`;
    reasons[reason.trim()] = (reasons[reason.trim()] ?? 0) + 1;
  };

  async function write(client: MessagingClient, random: Random): Promise<void> {
    const body = `${label} ${randomUUID()}`;
    const toAddress = `+1212${2_000_000 + Math.floor(random() * CONVERSATIONS)}`;
    // Half of them leave it to the package to make a repeated call harmless.
    const key = random() < 0.5 ? { requestId: randomUUID() } : {};
    const { message } = await client.messages.sendMessage({ message: { fromAddress: '+14155552671', toAddress, body }, ...key });
    acknowledged.set(body, message?.id ?? '');
    bodies.push(body);
  }

  async function read(client: MessagingClient, random: Random): Promise<void> {
    const body = bodies[Math.floor(random() * bodies.length)] ?? '';
    const { message } = await client.messages.getMessage({ id: acknowledged.get(body) ?? '' });
    if (message?.body !== body) throw new Error(`read another message than was sent: ${message?.id}`);
  }

  async function call(client: MessagingClient, random: Random): Promise<void> {
    while (!stopping) {
      await wait(between(random, 20, 120));
      const startedMs = performance.now();
      calls += 1;
      try {
        await (random() < READ_SHARE && bodies.length > 0 ? read(client, random) : write(client, random));
      } catch (error) {
        failures.push(error instanceof MessagingError ? error.message : String(error));
      }
      slowestMs = Math.max(slowestMs, performance.now() - startedMs);
    }
  }

  const options: MessagingClientOptions = { ...access, onRetry, ...(maxAttempts === undefined ? {} : { maxAttempts }) };
  const opened = Array.from({ length: clients }, (_, index) => clientOfItsOwn(address, index, options));
  const callers = opened.flatMap((client, index) =>
    Array.from({ length: CALLERS_PER_CLIENT }, (_, nth) =>
      call(client, seededRandom(seedOf(seed, 'caller', index * CALLERS_PER_CLIENT + nth))),
    ),
  );
  return {
    async stop() {
      stopping = true;
      await Promise.all(callers);
      for (const client of opened) client.close();
      return { calls, failures, retried, reasons, slowestMs, acknowledged };
    },
  };
}
