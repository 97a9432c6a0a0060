/** The service with its status page on, and everything on it that an operator may have to deal with. */
import { randomUUID } from 'node:crypto';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import pg from 'pg';
import { inject } from 'vitest';
import type { FailureReason } from '../../src/domain/message.ts';
import type { Snapshot } from '../../src/http/status-snapshot.ts';
import { failureOf } from './calls.ts';
import { type DeliveringService, startDelivering } from './delivering-service.ts';

export const STATUS_TOKEN = 'correct horse battery staple';
export const authorization = (token = STATUS_TOKEN, user = 'operator') => `Basic ${Buffer.from(`${user}:${token}`).toString('base64')}`;

export interface StatusWorld extends AsyncDisposable {
  readonly delivering: DeliveringService;
  /** `http://127.0.0.1:1234` */
  readonly origin: string;
  snapshot(): Promise<Snapshot>;
  /** As the page asks for it, unless `init` says otherwise. */
  act(path: string, command: unknown, headers?: Readonly<Record<string, string>>): Promise<Response>;
  sql(text: string, values?: readonly unknown[]): Promise<void>;
  /** A message that was given up; returns its id. */
  deadLetter(reason: FailureReason, retryable: boolean): Promise<string>;
  /** A report about `messageId` that could not be processed, for a reason that is gone; returns the id of the request. */
  quarantined(messageId: string, error?: string): Promise<string>;
  /** Some calls of each kind. */
  traffic(): Promise<void>;
}

export async function startStatusWorld(env: Readonly<Record<string, string>> = {}): Promise<StatusWorld> {
  await using opening = new AsyncDisposableStack();
  const redis = inject('redis');
  const cache = redis === null ? {} : { REDIS_HOST: redis.host, REDIS_PORT: String(redis.port), CACHE_KEY_PREFIX: `${randomUUID()}:` };
  const delivering = opening.use(await startDelivering({ env: { STATUS_TOKEN, ...cache, ...env } }));
  const { calls } = delivering;
  const client = new pg.Client({ connectionString: delivering.databaseUrl });
  // The database is dropped while it is connected.
  client.on('error', () => undefined);
  await client.connect();
  opening.defer(() => client.end().catch(() => undefined));
  const origin = `http://127.0.0.1:${delivering.service.httpPort}`;
  const sql = async (text: string, values: readonly unknown[] = []) => void (await client.query(text, [...values]));
  const opened = opening.move();
  return {
    delivering,
    origin,
    sql,

    async snapshot() {
      const response = await fetch(`${origin}/status.json`, { headers: { authorization: authorization() } });
      if (!response.ok) throw new Error(`/status.json was answered ${response.status}`);
      return (await response.json()) as Snapshot;
    },

    act: (path, command, headers = {}) =>
      fetch(`${origin}${path}`, {
        method: 'POST',
        headers: { authorization: authorization(), 'content-type': 'application/json', 'x-status-page': '1', ...headers },
        body: JSON.stringify(command),
      }),

    async deadLetter(reason, retryable) {
      // Not due: nobody asks a provider, whose reports would take the verdict back.
      const sendAt = timestampFromMs(Date.now() + 3_600_000);
      const addresses = { fromAddress: '+14155552671', toAddress: '+14155552680' };
      const { message } = await calls.messages.sendMessage({ message: { ...addresses, body: 'hello', sendAt } });
      const id = message?.id ?? '';
      const failure = { reason, retryable, providerCode: '', providerMessage: '' };
      const failed = `update messages set status = 'failed', failed_at = now(), failure = $2, attempt_count = 1 where id = $1`;
      await sql(failed, [id, JSON.stringify(failure)]);
      return id;
    },

    async quarantined(messageId, error = 'event 1: the database refused it') {
      const id = randomUUID();
      const path = `/webhooks/twilio/status?message_id=${messageId}&message_attempt=1`;
      const body = Buffer.from('MessageSid=SM1&MessageStatus=delivered');
      await sql(
        `insert into webhook_requests
           (id, endpoint, provider, path, content_type, body, truncated, state, error, tries, received_at, processed_at)
         values ($1, 'twilio_status', 'twilio', $2, 'application/x-www-form-urlencoded', $3, false, 'quarantined', $4, 1, now(), now())`,
        [id, path, body, error],
      );
      return id;
    },

    async traffic() {
      const { id } = await calls.send();
      for (let read = 0; read < 8; read += 1) await calls.readMessage(id);
      await failureOf(calls.readMessage(randomUUID()));
      await calls.messages.listMessages({ pageSize: 5 });
    },

    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}
