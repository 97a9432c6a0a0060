/** This service, started as src/main.ts starts it. `node service.ts full | no-telemetry | naive`; its configuration is the environment's. */
import { readConfig } from '../../src/config.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics, type Metrics } from '../../src/telemetry/metrics.ts';
import { startTelemetry } from '../../src/telemetry/otel.ts';
import { announce } from './serve.ts';

const ignore = (): void => undefined;
/** For the price of metrics: none are kept. */
const noMetrics: Metrics = {
  rpc: () => ({ started: ignore, handled: ignore }),
  connectionClosed: ignore,
  certificateEnds: ignore,
  cacheOperations: () => ({ inc: ignore }),
  cacheDuration: () => ({ observe: ignore }),
  cacheBreaker: ignore,
  cacheStored: ignore,
  cacheSettled: ignore,
  cacheMarksFailed: ignore,
  cacheVerified: ignore,
  cacheFlushed: ignore,
  relayPassed: ignore,
  outboxWaits: ignore,
  dependencyUp: ignore,
  watchTrust: ignore,
  watchPool: ignore,
  deliveryAttempt: ignore,
  deadLetter: ignore,
  providerAnswered: ignore,
  providerBreaker: ignore,
  deliveryReached: ignore,
  queueState: ignore,
  webhookRequest: ignore,
  webhookEvent: ignore,
  suppressed: ignore,
  watchStreams: ignore,
  watcherFellBehind: ignore,
  exposition: () => Promise.resolve({ contentType: 'text/plain', text: '' }),
  readings: () => createMetrics().readings(),
};

const [, , variant] = process.argv;
const config = readConfig();
const isTold = variant !== 'no-telemetry';
if (isTold) {
  const { exportTraces, traceSampleRatio: sampleRatio } = config;
  await startTelemetry({ exportTraces, sampleRatio, serviceName: 'messaging-service', serviceVersion: 'bench' });
}
// Drivers are traced only when they are imported after telemetry has started.
const { startApp } = await import('../../src/app.ts');
const naive = variant === 'naive' ? await import('../../test/chaos/naive-cache.ts') : undefined;
const instruments = { log: createLog({ level: config.logLevel }), metrics: isTold ? createMetrics() : noMetrics };
const app = await startApp(config, instruments, naive?.openNaiveCache);
if (app.grpcPort !== undefined) announce(app.grpcPort);
