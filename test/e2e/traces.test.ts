/** The traces of a miss and of a hit, as they are exported and as README shows them. PRINT_TRACES=1 prints them. */
import { trace } from '@opentelemetry/api';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { createMessagingClient } from '../../src/client/messaging-client.ts';
import { startTelemetry } from '../../src/telemetry/otel.ts';
import { type CachedService, patiently, startCachedService } from '../support/cached-service.ts';
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from '../support/otlp-receiver.ts';

const KINDS = ['UNSPECIFIED', 'INTERNAL', 'SERVER', 'CLIENT'];
/** Said once in the text below or nowhere: where the servers are, and statements that fill the screen. */
const NOT_SHOWN = new Set([
  'db.postgresql.plan',
  'rpc.method',
  'server.address',
  'server.port',
  'db.namespace',
  'db.query.text',
  'db.operation.name',
]);

const MISS = `
SERVER messaging.v1.MessageService/GetMessage  rpc.system.name=grpc rpc.status_code=OK
  INTERNAL cache.get  cache.entity=message cache.result=miss
    CLIENT mget  db.system.name=redis
    CLIENT set  db.system.name=redis
  INTERNAL cache.load  cache.entity=message
    CLIENT SELECT messages  db.system.name=postgresql db.query.summary=SELECT messages
  INTERNAL cache.set  cache.entity=message cache.result=ok
    CLIENT evalsha  db.system.name=redis
`;

const HIT = `
SERVER messaging.v1.MessageService/GetMessage  rpc.system.name=grpc rpc.status_code=OK
  INTERNAL cache.get  cache.entity=message cache.result=hit
    CLIENT mget  db.system.name=redis
`;

/** The spans of one trace, children below their parents in the order they began. A span whose parent is elsewhere is a root. */
function draw(spans: readonly ReceivedSpan[]): string {
  const known = new Set(spans.map(({ spanId }) => spanId));
  const parentOf = ({ parentSpanId = '' }: ReceivedSpan) => (known.has(parentSpanId) ? parentSpanId : '');
  const inOrder = spans.toSorted((left, right) => Number(BigInt(left.startTimeUnixNano) - BigInt(right.startTimeUnixNano)));
  const below = (parent: string, indent: string): readonly string[] =>
    inOrder
      .filter((span) => parentOf(span) === parent)
      .flatMap((span) => {
        const facts = Object.entries(span.attributes).filter(([key]) => !NOT_SHOWN.has(key));
        const text = facts.map(([key, value]) => `${key}=${value}`).join(' ');
        return [`${indent}${KINDS[span.kind]} ${span.name}  ${text}`, ...below(span.spanId, `${indent}  `)];
      });
  return `\n${below('', '').join('\n')}\n`;
}

describe.skipIf(inject('redis') === null)('the exported traces', () => {
  const opened = new AsyncDisposableStack();
  let otlp: OtlpReceiver;
  let on: CachedService;

  beforeAll(async () => {
    otlp = opened.use(await startOtlpReceiver());
    const exporting = {
      OTEL_EXPORTER_OTLP_ENDPOINT: otlp.endpoint,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_BSP_SCHEDULE_DELAY: '20',
    };
    on = opened.use(await startCachedService('traces:', exporting));
    // This process calls the service and exports its own spans to the same place.
    Object.assign(process.env, exporting);
    opened.use(await startTelemetry({ exportTraces: true, sampleRatio: 1, serviceName: 'caller', serviceVersion: '1' }));
    // Redis knows the script from here on; a first use sends it whole.
    const { id } = await on.calls.send();
    await on.relayed();
    await on.calls.readMessage(id);
    await expectFilled(id);
  });
  afterAll(() => opened.disposeAsync());

  /** The fill is done. */
  async function expectFilled(id: string): Promise<void> {
    while (!(await on.redis.get(on.keyOf('message', id)))?.startsWith('V:')) await on.redis.ping();
  }

  const spansOf = (traceId: string) => otlp.spans().filter((span) => span.traceId === traceId);
  const newTraceId = (): string => crypto.randomUUID().replaceAll('-', '');

  /** Reads a message in a trace that begins at a caller who says so in the header. */
  async function readIn(traceId: string, id: string): Promise<void> {
    const headers = { traceparent: `00-${traceId}-00f067aa0ba902b7-01` };
    await on.calls.messages.getMessage({ id }, { headers });
  }

  function show(title: string, drawing: string): void {
    if (process.env['PRINT_TRACES'] !== undefined) console.log(`${title}:${drawing}`);
  }

  it('of a miss: what was asked of Redis, what PostgreSQL answered, what was stored', async () => {
    const [{ id }, traceId] = [await on.calls.send(), newTraceId()];
    await on.relayed();
    await readIn(traceId, id);
    await expect.poll(() => draw(spansOf(traceId)), patiently).toBe(MISS);
    show('miss', draw(spansOf(traceId)));
  });

  it('of a hit: one question to Redis', async () => {
    const [{ id }, traceId] = [await on.calls.send(), newTraceId()];
    await on.relayed();
    await on.calls.readMessage(id);
    await expectFilled(id);
    await readIn(traceId, id);
    await expect.poll(() => draw(spansOf(traceId)), patiently).toBe(HIT);
    show('hit', draw(spansOf(traceId)));
  });

  it('continue the trace that the caller names', async () => {
    const [{ id }, traceId] = [await on.calls.send(), newTraceId()];
    await on.relayed();
    await readIn(traceId, id);
    await expect
      .poll(() => spansOf(traceId).find(({ kind }) => kind === KINDS.indexOf('SERVER'))?.parentSpanId, patiently)
      .toBe('00f067aa0ba902b7');
  });

  it('begin in the client package of the caller', async () => {
    const { id } = await on.calls.send();
    using client = createMessagingClient(`127.0.0.1:${on.service.grpcPort}`);
    const { traceId, spanId } = await trace.getTracer('test').startActiveSpan('work of the caller', async (span) => {
      await client.messages.getMessage({ id }, { deadlineMs: 20_000 });
      span.end();
      return span.spanContext();
    });
    await expect.poll(() => spansOf(traceId).map(({ name }) => name), patiently).toContain('work of the caller');
    await expect
      .poll(() => spansOf(traceId).find(({ name }) => name === 'messaging.v1.MessageService/GetMessage')?.parentSpanId, patiently)
      .toBe(spanId);
  });

  it('stay apart when calls share one round trip to Redis', async () => {
    const { id } = await on.calls.send();
    await on.relayed();
    await on.calls.readMessage(id);
    await expectFilled(id);
    const traceIds = Array.from({ length: 30 }, newTraceId);
    await Promise.all(traceIds.map((traceId) => readIn(traceId, id)));
    for (const traceId of traceIds) await expect.poll(() => draw(spansOf(traceId)), patiently).toBe(HIT);
  });

  it('do not record what the caller does not record', async () => {
    const [{ id }, unrecorded, recorded] = [await on.calls.send(), newTraceId(), newTraceId()];
    await on.calls.messages.getMessage({ id }, { headers: { traceparent: `00-${unrecorded}-00f067aa0ba902b7-00` } });
    await readIn(recorded, id);
    await expect.poll(() => spansOf(recorded).length, patiently).toBeGreaterThan(0);
    expect(spansOf(unrecorded)).toEqual([]);
  });

  it('stand in the log lines of the call', async () => {
    const [{ id }, traceId] = [await on.calls.send(), newTraceId()];
    await on.relayed();
    await readIn(traceId, id);
    await expect
      .poll(
        () =>
          on.service
            .output()
            .split('\n')
            .filter((line) => line.includes(traceId))
            .join('\n'),
        patiently,
      )
      .toContain(`Message cache miss: ${id}`);
  });

  it('lead from a slow bucket of a metric to a trace', async () => {
    const [{ id }, traceId] = [await on.calls.send(), newTraceId()];
    await on.relayed();
    await readIn(traceId, id);
    const exposition = async () => (await fetch(`http://127.0.0.1:${on.service.httpPort}/metrics`)).text();
    await expect
      .poll(exposition, patiently)
      .toMatch(new RegExp(`grpc_server_handling_seconds_bucket.*GetMessage.*# \\{trace_id="${traceId}"`));
  });
});
