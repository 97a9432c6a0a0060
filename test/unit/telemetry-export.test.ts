import { propagation, SpanKind, trace } from '@opentelemetry/api';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { withoutValues } from '../../src/telemetry/driver-spans.ts';
import { startTelemetry } from '../../src/telemetry/otel.ts';
import { keepCallersContext } from '../../src/telemetry/pipelined-context.ts';
import { activeTrace, startServerSpan, withoutSpans, withSpan } from '../../src/telemetry/trace.ts';
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from '../support/otlp-receiver.ts';

const CANARY = 'canary-4155552671';
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const PARENT = 'b7ad6b7169203331';
const METHOD = 'messaging.v1.MessageService/GetMessage';

class CacheDown extends Error {
  readonly code = 'ECONNREFUSED';
}

/** What the instrumentation of pg does for a statement that fails. */
function failAsPgDoes(): void {
  const driver = withoutValues(trace.getTracerProvider()).getTracer('pg');
  const attributes = { 'db.query.text': `select '${CANARY}'` };
  const span = driver.startSpan(`pg.query:SELECT'${CANARY}' messaging`, { kind: SpanKind.CLIENT, attributes });
  span.setAttribute('db.query.text', `select '${CANARY}'::uuid`);
  span.recordException(`PostgreSQL error of type 'error' occurred (code: 22P02)`);
  span.setStatus({ code: 2, message: `invalid input syntax for type uuid: "${CANARY}"` });
  span.end();
}

/** What the instrumentation of ioredis does for a command that fails. */
function failAsRedisDoes(): void {
  const span = withoutValues(trace.getTracerProvider()).getTracer('ioredis').startSpan('eval');
  span.recordException(new CacheDown(`ERR ${CANARY}`));
  span.setStatus({ code: 2, message: `ERR ${CANARY}` });
  span.end();
}

class Redis {
  sendCommand(command: object): unknown {
    return trace
      .getTracer('ioredis')
      .startSpan('get', { attributes: { id: (command as { id: string }).id } })
      .end();
  }
}

class Pipeline {
  readonly queue: object[] = [];
  sendCommand(command: object): unknown {
    return this.queue.push(command);
  }
}

describe('traces that are exported', () => {
  let receiver: OtlpReceiver;
  const byName = (name: string): ReceivedSpan | undefined => receiver.spans().find((span) => span.name === name);

  beforeAll(async () => {
    receiver = await startOtlpReceiver();
    process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = receiver.endpoint;
    process.env['OTEL_EXPORTER_OTLP_PROTOCOL'] = 'http/json';
    await using _telemetry = await startTelemetry({
      exportTraces: true,
      sampleRatio: 1,
      serviceName: 'messaging',
      serviceVersion: '1.2.3',
    });

    const headers = { traceparent: `00-${TRACE}-${PARENT}-01`, baggage: 'tenant=blue' };
    const call = startServerSpan({ headers, system: 'grpc', method: METHOD, address: 'messaging', port: 50_051 });
    await call.run(() =>
      withSpan('cache.get', { 'cache.entity': 'message' }, async (span) => {
        span.set('cache.result', 'miss');
        span.set('test.active', activeTrace()?.traceId ?? 'none');
        span.set('test.sampled', activeTrace()?.sampled ?? false);
        failAsPgDoes();
        failAsRedisDoes();
      }),
    );
    await call.run(() => withoutSpans(() => withSpan('cache.load', { 'cache.entity': 'message' }, async () => failAsRedisDoes())));
    call.end('INTERNAL', true);
    call.end('OK', false);

    const unknown = startServerSpan({ headers: {}, system: 'connectrpc', method: '_OTHER' });
    unknown.end('UNIMPLEMENTED', false);
    const unsampled = startServerSpan({ headers: { traceparent: `00-${TRACE}-${PARENT}-00` }, system: 'grpc', method: 'not/recorded' });
    expect(unsampled.sampled).toBeUndefined();
    expect(unsampled.traceId).toBe(TRACE);
    unsampled.end('OK', false);

    await withSpan('outside of calls', {}, async () => undefined);
    const work = startServerSpan({ headers: {}, system: 'grpc', method: 'work/Done' });
    await work.run(() => withSpan('cache.set', {}, () => Promise.reject(new CacheDown(CANARY))).catch(() => undefined));

    keepCallersContext({ Pipeline, Redis });
    const pipeline = new Pipeline();
    const redis = new Redis();
    await work.run(() => withSpan('first caller', {}, async () => pipeline.sendCommand({ id: 'first' })));
    await work.run(() => withSpan('second caller', {}, async () => pipeline.sendCommand({ id: 'second' })));
    await work.run(() => withSpan('flush', {}, async () => pipeline.queue.forEach((command) => void redis.sendCommand(command))));
    work.end('OK', false);
  });

  afterAll(() => receiver[Symbol.asyncDispose]());

  test('leave out what is done too often for a trace', () => {
    expect(byName('cache.load')).toBeUndefined();
    expect(receiver.spans().filter(({ name }) => name === 'eval')).toHaveLength(1);
  });

  test('a call is one SERVER span with the current RPC conventions, below its caller', () => {
    expect(byName(METHOD)).toMatchObject({
      kind: 2,
      traceId: TRACE,
      parentSpanId: PARENT,
      status: { code: 2 },
      events: [],
      attributes: {
        'rpc.system.name': 'grpc',
        'rpc.method': METHOD,
        'rpc.status_code': 'INTERNAL',
        'error.type': 'INTERNAL',
        'server.address': 'messaging',
        'server.port': 50_051,
      },
    });
  });

  test('a call of an unknown method is named after its system and is nobody here’s error', () => {
    const span = byName('connectrpc');
    expect(span?.attributes).toEqual({ 'rpc.system.name': 'connectrpc', 'rpc.method': '_OTHER', 'rpc.status_code': 'UNIMPLEMENTED' });
    expect(span?.status.code ?? 0).toBe(0);
    expect(span?.parentSpanId ?? '').toBe('');
  });

  test('work inside the call is its child and sees its trace', () => {
    const span = byName('cache.get');
    expect(span?.parentSpanId).toBe(byName(METHOD)?.spanId);
    expect(span?.attributes).toEqual({
      'cache.entity': 'message',
      'cache.result': 'miss',
      'test.active': TRACE,
      'test.sampled': true,
    });
  });

  test('a caller that does not record is followed', () => {
    expect(byName('not/recorded')).toBeUndefined();
  });

  test('work that belongs to no call begins no trace', () => {
    expect(byName('outside of calls')).toBeUndefined();
  });

  test('work that throws leaves its type, not its message', () => {
    const span = byName('cache.set');
    expect(span?.status).toEqual({ code: 2 });
    expect(span?.events).toEqual([]);
    expect(span?.attributes).toEqual({ 'error.type': 'ECONNREFUSED' });
  });

  test('a failing statement leaves its SQLSTATE and its shape', () => {
    const span = byName('pg.query');
    expect(span?.parentSpanId).toBe(byName('cache.get')?.spanId);
    expect(span?.status).toEqual({ code: 2 });
    expect(span?.attributes).toEqual({
      'db.query.text': 'select ?::uuid',
      'error.type': '22P02',
      'db.response.status_code': '22P02',
    });
  });

  test('no value reaches the collector', () => {
    expect(byName('eval')?.attributes).toEqual({ 'error.type': 'ECONNREFUSED' });
    expect(receiver.bodies.join()).not.toContain(CANARY);
  });

  test('a pipelined command belongs to who asked for it, whoever sends it', () => {
    const parents = receiver
      .spans()
      .filter(({ name }) => name === 'get')
      .map(({ parentSpanId }) => parentSpanId);
    expect(parents).toEqual([byName('first caller')?.spanId, byName('second caller')?.spanId]);
  });

  test('the resource names the service and tells nothing of the process', () => {
    const resource = receiver.resource();
    expect(resource).toMatchObject({ 'service.name': 'messaging', 'service.version': '1.2.3', 'telemetry.sdk.language': 'nodejs' });
    expect(Object.keys(resource).filter((key) => key.startsWith('process.'))).toEqual([]);
  });

  test('trace context and baggage go out in the W3C form', () => {
    expect(propagation.fields()).toEqual(expect.arrayContaining(['traceparent', 'tracestate', 'baggage']));
  });
});
