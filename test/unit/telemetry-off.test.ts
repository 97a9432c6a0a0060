import { expect, test } from 'vitest';
import { startTelemetry } from '../../src/telemetry/otel.ts';
import { activeTrace, startServerSpan, withSpan } from '../../src/telemetry/trace.ts';
import { startOtlpReceiver } from '../support/otlp-receiver.ts';

test('without telemetry at all, spans do nothing and work goes on', async () => {
  const call = startServerSpan({ headers: {}, system: 'grpc', method: 'a/B' });
  expect(call.traceId).toBeUndefined();
  expect(await call.run(() => withSpan('work', {}, async () => activeTrace() ?? 'outside'))).toBe('outside');
  call.end('OK', false);
});

test('with export off nobody is connected to, yet the parts of one call share an id', async () => {
  await using receiver = await startOtlpReceiver();
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = receiver.endpoint;
  process.env['OTEL_EXPORTER_OTLP_PROTOCOL'] = 'http/json';
  {
    await using _telemetry = await startTelemetry({
      exportTraces: false,
      sampleRatio: 1,
      serviceName: 'messaging',
      serviceVersion: '1.2.3',
    });
    const call = startServerSpan({ headers: {}, system: 'grpc', method: 'a/B' });
    const inside = await call.run(() => withSpan('work', {}, async () => activeTrace()));
    expect(call.traceId).toMatch(/^[0-9a-f]{32}$/);
    expect(inside).toMatchObject({ traceId: call.traceId, sampled: false });
    expect(call.sampled).toBeUndefined();
    call.end('OK', false);
  }
  expect(receiver.bodies).toEqual([]);
});
