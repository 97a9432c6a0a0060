/** A client like any other, which calls while others attack: the package that teams import, and a probe of the HTTP port. */
import { createMessagingClient } from '../../src/client/messaging-client.ts';

export interface HonestReport {
  readonly calls: number;
  readonly failures: readonly string[];
  readonly slowestMs: number;
}

export interface HonestClient extends AsyncDisposable {
  /** Calls until `signal` ends it. */
  callUntil(signal: AbortSignal): Promise<HonestReport>;
}

const DEADLINE_MS = 10_000;
const PAUSE_MS = 20;
const us = '+14155552671';
const them = '+14155552672';

export interface HonestOptions {
  readonly grpcPort: number;
  readonly httpPort: number;
  /** PEM of the authority; undefined: cleartext. */
  readonly ca: Buffer | undefined;
  readonly messageId: string;
}

export function createHonestClient({ grpcPort, httpPort, ca, messageId }: HonestOptions): HonestClient {
  const client = createMessagingClient(`localhost:${grpcPort}`, { deadlineMs: DEADLINE_MS, ...(ca && { tls: { ca } }) });
  const errands: readonly (() => Promise<unknown>)[] = [
    () => client.messages.getMessage({ id: messageId }),
    () => client.messages.getMessage({ id: messageId }),
    () => client.messages.sendMessage({ message: { fromAddress: us, toAddress: them, body: 'hello' } }),
    () => client.messages.listMessages({ pageSize: 10 }),
    async () => {
      const answer = await fetch(`http://127.0.0.1:${httpPort}/healthz`, { signal: AbortSignal.timeout(DEADLINE_MS) });
      await answer.arrayBuffer();
      if (!answer.ok) throw new Error(`/healthz answered ${answer.status}`);
    },
  ];
  return {
    async callUntil(signal) {
      const failures: string[] = [];
      let [calls, slowestMs] = [0, 0];
      while (!signal.aborted) {
        const startedMs = performance.now();
        try {
          await errands[calls % errands.length]?.();
        } catch (error) {
          failures.push(String(error));
        }
        calls += 1;
        slowestMs = Math.max(slowestMs, performance.now() - startedMs);
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
      return { calls, failures, slowestMs };
    },
    async [Symbol.asyncDispose]() {
      client.close();
    },
  };
}
