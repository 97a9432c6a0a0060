/** The service inside the test's own process: starts faster than a process of its own, and its log can be read. */
import { startApp } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { laneSettings } from './lane.ts';

export interface TestApp extends AsyncDisposable {
  readonly grpcPort: number;
  readonly httpPort: number;
  readonly logLines: () => readonly LogLine[];
}

export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** On free ports, without a cache unless `env` has one. */
export async function startTestApp(env: Readonly<Record<string, string>>): Promise<TestApp> {
  const lines: string[] = [];
  const log = createLog({ level: 'debug', destination: { write: (line: string) => lines.push(line) } });
  const config = readConfig({
    GRPC_HOST: '127.0.0.1',
    HTTP_HOST: '127.0.0.1',
    GRPC_PORT: '0',
    HTTP_PORT: '0',
    PROCESS_ROLE: 'server',
    AUTH_MODE: 'off',
    ...laneSettings(),
    ...env,
  });
  const app = await startApp(config, { log, metrics: createMetrics() });
  return {
    grpcPort: app.grpcPort ?? 0,
    httpPort: app.httpPort,
    logLines: () => lines.map((line): LogLine => JSON.parse(line)),
    [Symbol.asyncDispose]: () => app[Symbol.asyncDispose](),
  };
}
