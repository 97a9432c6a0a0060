import { expect, test } from 'vitest';
import { startTelemetry } from '../../src/telemetry/otel.ts';
import { startServerSpan } from '../../src/telemetry/trace.ts';
import { startOtlpReceiver } from '../support/otlp-receiver.ts';

test('a collector that never answers does not hold up the stop', async () => {
  await using receiver = await startOtlpReceiver({ silent: true });
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = receiver.endpoint;
  process.env['OTEL_EXPORTER_OTLP_PROTOCOL'] = 'http/json';
  const telemetry = await startTelemetry({ exportTraces: true, sampleRatio: 1, serviceName: 'messaging', serviceVersion: '1.2.3' });
  startServerSpan({ headers: {}, system: 'grpc', method: 'last/Call' }).end('OK', false);
  const exported = receiver.next();
  await telemetry[Symbol.asyncDispose]();
  await exported;
  expect(receiver.spans().map(({ name }) => name)).toEqual(['last/Call']);
});
