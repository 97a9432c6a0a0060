/** OpenTelemetry's SDK, loaded only where traces are exported: it takes as long to load as half of the service. */
import { trace } from '@opentelemetry/api';
import { IORedisInstrumentation } from '@opentelemetry/instrumentation-ioredis';
import { PgInstrumentation } from '@opentelemetry/instrumentation-pg';
import { defaultResource, envDetector, hostDetector, resourceFromAttributes, serviceInstanceIdDetector } from '@opentelemetry/resources';
import { NodeSDK } from '@opentelemetry/sdk-node';
import { AlwaysOnSampler, ParentBasedSampler } from '@opentelemetry/sdk-trace';
import { ATTR_DB_QUERY_SUMMARY, ATTR_SERVICE_NAME, ATTR_SERVICE_VERSION } from '@opentelemetry/semantic-conventions';
import { register } from 'import-in-the-middle/register-hooks.mjs';
import { withoutValues } from './driver-spans.ts';
import type { TelemetryOptions } from './otel.ts';
import { followPipelinedCommands } from './pipelined-context.ts';
import { scrubSql, summarizeSql } from './scrub-sql.ts';

/** Spans of drivers only below a span of ours: what runs in the background starts no trace. */
function driverInstrumentations() {
  return [
    new PgInstrumentation({
      requireParentSpan: true,
      ignoreConnectSpans: true,
      requestHook(span, { query }) {
        const summary = summarizeSql(scrubSql(query.text));
        span.setAttribute(ATTR_DB_QUERY_SUMMARY, summary).updateName(summary);
      },
    }),
    // Arguments are keys, tokens and payloads.
    new IORedisInstrumentation({ requireParentSpan: true, dbStatementSerializer: (command) => command }),
  ];
}

export function startTraceExport(options: TelemetryOptions): { shutdown(): Promise<void> } {
  // Without this loader hook an ESM `import 'ioredis'` is not seen. Only the drivers pass through it.
  register({ include: ['pg', 'ioredis'] });
  const instrumentations = driverInstrumentations();
  followPipelinedCommands();
  const sdk = new NodeSDK({
    resource: defaultResource().merge(
      resourceFromAttributes({ [ATTR_SERVICE_NAME]: options.serviceName, [ATTR_SERVICE_VERSION]: options.serviceVersion }),
    ),
    // Not the process: its command line is nobody's business.
    resourceDetectors: [serviceInstanceIdDetector, hostDetector, envDetector],
    // Roots are sampled before they are made; see trace.ts.
    sampler: new ParentBasedSampler({ root: new AlwaysOnSampler() }),
    metricReaders: [],
    logRecordProcessors: [],
    instrumentations,
  });
  sdk.start();
  const guarded = withoutValues(trace.getTracerProvider());
  for (const instrumentation of instrumentations) instrumentation.setTracerProvider(guarded);
  return sdk;
}
