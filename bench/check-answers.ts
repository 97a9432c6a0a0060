/** Reads through a real gRPC client, before and after the load, whether the contenders answer what they should. */
import pg from 'pg';
import { createMessagingClient } from '../src/client/messaging-client.ts';
import { HOT_ROWS } from './requests.ts';
import { messageId } from './rows.ts';

export interface Listening {
  readonly name: string;
  readonly port: number;
}

const CHECKED = 20;
const TRUST_TIMEOUT_MS = 20_000;

async function expectedBodies(postgresUrl: string): Promise<ReadonlyMap<string, string>> {
  const sql = new pg.Client({ connectionString: postgresUrl });
  await sql.connect();
  const ids = Array.from({ length: CHECKED }, (_, index) => messageId(Math.floor((index * HOT_ROWS) / CHECKED)));
  const { rows } = await sql.query<{ id: string; body: string }>('select id, body from messages where id = any($1)', [ids]);
  await sql.end();
  return new Map(rows.map(({ id, body }) => [id, body]));
}

/** Throws at the first answer that is wrong. The floor has only one. */
export async function checkAnswers(contenders: readonly Listening[], postgresUrl: string): Promise<void> {
  const bodies = await expectedBodies(postgresUrl);
  for (const { name, port } of contenders) {
    using client = createMessagingClient(`127.0.0.1:${port}`);
    for (const [id, body] of name === 'floor' ? [...bodies].slice(0, 1) : bodies) {
      const { message } = await client.messages.getMessage({ id });
      if (message?.id !== id || message.body !== body) throw new Error(`${name} gave a wrong answer for message ${id}`);
    }
  }
}

/** Until the service trusts its cache: what a read of the first row says of where the answer came from. */
export async function untilSourceIs(source: string, { name, port }: Listening): Promise<void> {
  using client = createMessagingClient(`127.0.0.1:${port}`);
  const givesUpAt = performance.now() + TRUST_TIMEOUT_MS;
  let found = '';
  while (found !== source) {
    if (performance.now() > givesUpAt) throw new Error(`${name} answers from "${found}", not from "${source}"`);
    const onHeaders = (headers: Readonly<Record<string, string>>): void => {
      found = headers['x-cache'] ?? '';
    };
    await client.messages.getMessage({ id: messageId(0) }, { onHeaders });
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
