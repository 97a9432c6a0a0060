/** The process: configuration, telemetry, start, wait for a signal, close. */
import packageJson from '../package.json' with { type: 'json' };
import { ConfigError, readConfig } from './config.ts';
import { createLog } from './telemetry/log.ts';
import { createMetrics } from './telemetry/metrics.ts';
import { startTelemetry } from './telemetry/otel.ts';

async function main(): Promise<void> {
  const config = readConfig();
  const log = createLog({ level: config.logLevel });
  const { exportTraces, traceSampleRatio: sampleRatio } = config;
  await using _telemetry = await startTelemetry({
    exportTraces,
    sampleRatio,
    serviceName: packageJson.name,
    serviceVersion: packageJson.version,
  });
  // Drivers are traced only when they are imported after telemetry has started.
  const { startApp } = await import('./app.ts');
  const stop = Promise.withResolvers<string>();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.resolve(signal));
  try {
    await using app = await startApp(config, { log, metrics: createMetrics() });
    log.info({ role: config.role, grpc_port: app.grpcPort, http_port: app.httpPort }, 'serving');
    log.info({ signal: await stop.promise }, 'stopping');
  } catch (error) {
    const { code, port } = error as { code?: string; port?: number };
    log.error({ err: error }, code === 'EADDRINUSE' ? `cannot start: port ${port} is in use` : 'cannot start');
    process.exitCode = 1;
  }
  log.info('stopped');
}

try {
  await main();
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
// Everything is closed; a trace exporter that still waits to try again must not keep the process.
process.exit();
