/** Starts OpenTelemetry. Must run before pg and ioredis are loaded: a driver that is already loaded is not traced. */
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

/**
 * Flushes and shuts down when disposed, within about two seconds even when the collector does not answer. Without export nothing is
 * recorded; calls still have ids, so that the log lines of one can be found together.
 */
export async function startTelemetry(options: TelemetryOptions): Promise<AsyncDisposable> {
  const { exportTraces, sampleRatio } = options;
  const sdk = exportTraces ? (await import('./trace-export.ts')).startTraceExport(options) : undefined;
  setSampling({ record: exportTraces, ratio: sampleRatio });
  return {
    async [Symbol.asyncDispose]() {
      setSampling(undefined);
      const { promise: timeout, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, SHUTDOWN_TIMEOUT_MS);
      try {
        await Promise.race([sdk?.shutdown(), timeout]);
      } catch {
        // The last spans are lost; that must not turn a clean stop into a failed one.
      } finally {
        clearTimeout(timer);
      }
    },
  };
}
