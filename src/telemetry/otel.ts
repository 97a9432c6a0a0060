/** Starts OpenTelemetry. Must run before pg and ioredis are loaded: a driver that is already loaded is not traced. */
import { trace } from '@opentelemetry/api';
import { IORedisInstrumentation } from '@opentelemetry/instrumentation-ioredis';
import { PgInstrumentation } from '@opentelemetry/instrumentation-pg';
import { defaultResource, envDetector, hostDetector, resourceFromAttributes, serviceInstanceIdDetector } from '@opentelemetry/resources';
import { NodeSDK } from '@opentelemetry/sdk-node';
import { AlwaysOffSampler, AlwaysOnSampler, NoopSpanProcessor, ParentBasedSampler } from '@opentelemetry/sdk-trace';
import { ATTR_DB_QUERY_SUMMARY, ATTR_SERVICE_NAME, ATTR_SERVICE_VERSION } from '@opentelemetry/semantic-conventions';
import { register } from 'import-in-the-middle/register-hooks.mjs';
import { withoutValues } from './driver-spans.ts';
import { followPipelinedCommands } from './pipelined-context.ts';
import { scrubSql, summarizeSql } from './scrub-sql.ts';
import { setSampling } from './trace.ts';

const SHUTDOWN_TIMEOUT_MS = 2_000;

export interface TelemetryOptions {
  /**
   * Send traces by OTLP. Where to and how, the SDK reads from the standard variables (`OTEL_EXPORTER_OTLP_ENDPOINT`,
   * `OTEL_EXPORTER_OTLP_PROTOCOL` and their kind). False: nothing is recorded, and nobody is connected to.
   */
  readonly exportTraces: boolean;
  /** Share of the traces that begin here that is recorded, 0 to 1. The decision of a caller is followed. */
  readonly sampleRatio: number;
  /** `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` come before these two. */
  readonly serviceName: string;
  readonly serviceVersion: string;
}

/** Nothing is recorded; spans still have ids, so that the log lines of one call can be found together. */
function startWithoutExport(): NodeSDK {
  const sdk = new NodeSDK({
    autoDetectResources: false,
    sampler: new AlwaysOffSampler(),
    spanProcessors: [new NoopSpanProcessor()],
    metricReaders: [],
    logRecordProcessors: [],
  });
  sdk.start();
  return sdk;
}

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

function startWithExport(options: TelemetryOptions): NodeSDK {
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

/** Flushes and shuts down when disposed, within about two seconds even when the collector does not answer. */
export function startTelemetry(options: TelemetryOptions): AsyncDisposable {
  const sdk = options.exportTraces ? startWithExport(options) : startWithoutExport();
  setSampling({ record: options.exportTraces, ratio: options.sampleRatio });
  return {
    async [Symbol.asyncDispose]() {
      setSampling(undefined);
      const { promise: timeout, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, SHUTDOWN_TIMEOUT_MS);
      try {
        await Promise.race([sdk.shutdown(), timeout]);
      } catch {
        // The last spans are lost; that must not turn a clean stop into a failed one.
      } finally {
        clearTimeout(timer);
      }
    },
  };
}
