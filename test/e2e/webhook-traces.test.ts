/** What a webhook brings belongs to the trace of the attempt that it is about; the request has a trace of its own. */
import pg from 'pg';
import { v7 as uuidv7 } from 'uuid';
import { expect, it, onTestFinished } from 'vitest';
import { callsTo } from '../support/calls.ts';
import { createDatabase } from '../support/database.ts';
import { startOtlpReceiver } from '../support/otlp-receiver.ts';
import { startService } from '../support/processes.ts';
import { authToken, publicUrl, twilioPost, twilioStatus } from '../support/signed-webhooks.ts';

const patiently = { timeout: 20_000, interval: 50 };
const [CONSUMER, SERVER] = [5, 2];

it('a status callback continues the trace of its attempt, and names the request that brought it', async () => {
  const opened = new AsyncDisposableStack();
  onTestFinished(() => opened.disposeAsync());
  const { url } = opened.use(await createDatabase());
  const otlp = opened.use(await startOtlpReceiver());
  const service = opened.use(
    await startService({
      DATABASE_URL: url,
      PROCESS_ROLE: 'server',
      PUBLIC_URL: publicUrl,
      TWILIO_ACCOUNT_SID: `AC${'0'.repeat(32)}`,
      TWILIO_AUTH_TOKEN: authToken,
      OTEL_EXPORTER_OTLP_ENDPOINT: otlp.endpoint,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_BSP_SCHEDULE_DELAY: '20',
    }),
  );
  const { id } = await callsTo(service).send();
  const [traceId, spanId] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331'];
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(
    `insert into delivery_attempts (id, message_id, attempt, provider, outcome, trace_parent, started_at)
    values ($1, $2, 1, 'twilio', 'running', $3, now())`,
    [uuidv7(), id, `00-${traceId}-${spanId}-01`],
  );
  await client.end();
  for (const { path, headers, body } of [twilioStatus(id, 1, 'delivered'), twilioPost('twilio_inbound', {})]) {
    // A trace that a stranger names is not continued.
    const named = { ...headers, traceparent: `00-${'1'.repeat(32)}-${'1'.repeat(16)}-01` };
    const init = { method: 'POST', headers: named, body: new Uint8Array(body) };
    expect((await fetch(`http://127.0.0.1:${service.httpPort}${path}`, init)).ok).toBe(true);
  }

  const requests = () => otlp.spans().filter(({ name }) => name.startsWith('POST /webhooks/'));
  await expect.poll(() => requests().length, patiently).toBe(2);
  const [request] = requests().filter(({ name }) => name === 'POST /webhooks/twilio/status');
  expect(request).toMatchObject({
    kind: SERVER,
    attributes: { 'http.route': '/webhooks/twilio/status', 'http.response.status_code': 204 },
  });
  expect([traceId, '1'.repeat(32)]).not.toContain(request?.traceId);
  const [event, ...others] = otlp.spans().filter(({ name }) => name === 'webhook event');
  expect(others).toEqual([]);
  expect(event).toMatchObject({ kind: CONSUMER, traceId, parentSpanId: spanId, attributes: { 'webhook.event.result': 'applied' } });
  expect(event?.links).toEqual([expect.objectContaining({ traceId: request?.traceId, spanId: request?.spanId })]);
  const statements = otlp.spans().filter((span) => span.traceId === traceId && span.parentSpanId === event?.spanId);
  expect(statements.map(({ name }) => name)).toContain('INSERT message_events');
  expect(otlp.bodies.join()).not.toContain(authToken);
});
