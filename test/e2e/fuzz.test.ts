/** Random input, the short form; `make fuzz` is the long one. FUZZ_SEED repeats a run. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { webhookEndpoints } from '../../src/domain/webhook-request.ts';
import { startTestApp, type TestApp } from '../support/apps.ts';
import { callsTo } from '../support/calls.ts';
import { createDatabase } from '../support/database.ts';
import { AT_ONCE, fuzzEndpoint, fuzzedMethods, fuzzMethod, fuzzParser } from '../support/fuzzing.ts';
import { connectRaw, type RawClient } from '../support/raw-calls.ts';
import { authToken, newSigningKey, publicUrl } from '../support/signed-webhooks.ts';

const seed = Number(process.env['FUZZ_SEED'] ?? Date.now() % 1_000_000);
const key = newSigningKey();
const opened = new AsyncDisposableStack();
let app: TestApp;
let raw: RawClient;
const ids: string[] = [];

beforeAll(async () => {
  console.log(`FUZZ_SEED=${seed}`);
  const database = opened.use(await createDatabase());
  const webhooks = {
    PUBLIC_URL: publicUrl,
    TWILIO_ACCOUNT_SID: `AC${'0'.repeat(32)}`,
    TWILIO_AUTH_TOKEN: authToken,
    SENDGRID_WEBHOOK_KEYS: key.publicKey,
  };
  app = opened.use(await startTestApp({ DATABASE_URL: database.url, ...webhooks }));
  raw = opened.use(await connectRaw(`http://127.0.0.1:${app.grpcPort}`));
  const { id, conversationId } = await callsTo(app).send();
  ids.push(id, conversationId);
});
afterAll(async () => {
  const errors = app.logLines().filter(({ level }) => level === 'error');
  await opened.disposeAsync();
  expect(errors).toEqual([]);
});

describe('whatever bytes are sent', () => {
  it.each(fuzzedMethods.map((method) => [method.name, method] as const))(
    'to %s are answered with a status, and no bug',
    async (_, method) => {
      await fuzzMethod(raw, method, () => ids, { runs: 5, seed });
    },
  );

  it.each(webhookEndpoints)('to %s never make its parser throw', (endpoint) => fuzzParser(endpoint, { runs: 20, seed }));

  it.each(webhookEndpoints)('to %s are stored when they are signed, and refused otherwise', async (endpoint) => {
    let taken = 0;
    await fuzzEndpoint({ httpPort: app.httpPort, key, onTaken: () => (taken += 1) }, endpoint, { runs: 5, seed });
    expect(taken).toBeGreaterThan(AT_ONCE);
  });
});
