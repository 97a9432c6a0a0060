/** What people write, and what opens doors, goes from a worker to the provider. What the provider says about it goes no further. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { patiently } from '../support/cached-service.ts';
import { canaries, email, sms } from '../support/canary-run.ts';
import { type DeliveringService, startDelivering } from '../support/delivering-service.ts';
import { type OtlpReceiver, startOtlpReceiver } from '../support/otlp-receiver.ts';

const secrets = { ...canaries, twilioToken: 'canarytwiliotoken7f3a', sendgridKey: 'sg.canarykey7f3a' };
const STATUSES = [400, 500, 429, 503, 401];

/** Refuses everything in every way, and repeats all of the request while it does. */
async function startTalkativeProvider() {
  let answers = 0;
  const server = createServer(async (request, response) => {
    const said = `${JSON.stringify(request.headers)} ${decodeURIComponent((await text(request)).replaceAll('+', ' '))}`;
    const status = STATUSES[answers % STATUSES.length] ?? 400;
    answers += 1;
    // Our credentials are to blame for the last one, this message for the others.
    const [code, field] = status === 401 ? [20_003, null] : [21_211, 'to'];
    const body = { status, code, message: said, more_info: said, errors: [{ message: said, field }] };
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    answers: () => answers,
    [Symbol.dispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
}

const opened = new AsyncDisposableStack();
let [on, otlp]: [DeliveringService | undefined, OtlpReceiver | undefined] = [undefined, undefined];
let provider: Awaited<ReturnType<typeof startTalkativeProvider>>;

beforeAll(async () => {
  provider = opened.use(await startTalkativeProvider());
  otlp = opened.use(await startOtlpReceiver());
  on = opened.use(
    await startDelivering({
      env: {
        LOG_LEVEL: 'debug',
        TWILIO_API_URL: provider.url,
        TWILIO_AUTH_TOKEN: secrets.twilioToken,
        SENDGRID_API_URL: provider.url,
        SENDGRID_API_KEY: secrets.sendgridKey,
        DISPATCH_RETRY_BASE_MS: '10',
        DISPATCH_RETRY_MAX_MS: '20',
        OTEL_EXPORTER_OTLP_ENDPOINT: otlp.endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
        OTEL_BSP_SCHEDULE_DELAY: '20',
      },
    }),
  );
});
afterAll(() => opened.disposeAsync());

it('says nothing private of what a provider refused', async () => {
  if (on === undefined || otlp === undefined) throw new Error('not started');
  const { service, calls } = on;
  const { attachments: _, ...plainEmail } = email;
  for (let round = 0; round < STATUSES.length; round += 1) {
    // One after the other in its own conversation, for a refused message must not hold up the next.
    await calls.messages.sendMessage({ message: { ...sms, toAddress: `+1415555014${round}` } });
    await calls.messages.sendMessage({ message: { ...plainEmail, toAddress: `${canaries.theirEmail}${round}@example.com` } });
  }
  await calls.messages.sendMessage({ message: email });
  await vi.waitFor(() => expect(provider.answers()).toBeGreaterThan(STATUSES.length), patiently);
  await vi.waitFor(() => expect(service.output()).toContain('refuses our credentials'), patiently);
  const metrics = await (await fetch(`http://127.0.0.1:${service.httpPort}/metrics`)).text();
  const readiness = await (await fetch(`http://127.0.0.1:${service.httpPort}/readyz`)).text();
  await service.stop();

  const spans = otlp.spans();
  expect(spans.map(({ name }) => name)).toEqual(expect.arrayContaining(['dispatch message', 'twilio submit', 'sendgrid submit']));
  const found = [
    { where: 'a metric', text: metrics },
    { where: 'readiness', text: readiness },
    ...service
      .output()
      .split('\n')
      .map((line) => ({ where: `the log: ${line}`, text: line })),
    ...spans.map((span) => ({ where: `the span ${span.name}: ${JSON.stringify(span)}`, text: JSON.stringify(span) })),
  ];
  const isIn = (where: string) =>
    Object.values(secrets).some((secret) => where.toLowerCase().includes(secret) || /415555014\d/.test(where));
  expect(found.filter(({ text: said }) => isIn(said)).map(({ where }) => where)).toEqual([]);
});
