/** The service, as processes, with the simulator behind it. */
import { createPublicKey } from 'node:crypto';
import { freePort } from '../../src/dev/ports.ts';
import { seededRandom } from '../../src/dev/seeded-random.ts';
import { type Simulator, startSimulator } from '../../src/dev/simulator.ts';
import type { Faults } from '../../src/dev/simulator-faults.ts';
import { type Calls, callsTo } from './calls.ts';
import { createDatabase } from './database.ts';
import { type ServiceProcess, startService } from './processes.ts';
import { ACCOUNT_SID, API_KEY, AUTH_TOKEN, SIGNING_KEY } from './simulated.ts';

export interface DeliveringService extends AsyncDisposable {
  readonly service: ServiceProcess;
  readonly calls: Calls;
  readonly simulator: Simulator;
  readonly databaseUrl: string;
  /** Another process over the same database and simulator. */
  startAnother(env: Readonly<Record<string, string>>): Promise<ServiceProcess>;
}

export interface DeliveringOptions {
  readonly faults?: Partial<Faults>;
  readonly env?: Readonly<Record<string, string>>;
}

/** One process that does everything, unless `env` says otherwise. */
export async function startDelivering({ faults = {}, env = {} }: DeliveringOptions = {}): Promise<DeliveringService> {
  await using opening = new AsyncDisposableStack();
  const { url } = opening.use(await createDatabase());
  const httpPort = await freePort();
  const publicUrl = `http://127.0.0.1:${httpPort}`;
  const simulator = opening.use(
    await startSimulator({
      host: '127.0.0.1',
      port: 0,
      twilio: { accountSid: ACCOUNT_SID, authToken: AUTH_TOKEN },
      sendgrid: { apiKey: API_KEY, signingKey: SIGNING_KEY },
      webhookUrl: publicUrl,
      random: seededRandom(1),
      faults: { callbackDelayMs: [1, 20], ...faults },
    }),
  );
  const shared = {
    DATABASE_URL: url,
    PUBLIC_URL: publicUrl,
    TWILIO_ACCOUNT_SID: ACCOUNT_SID,
    TWILIO_AUTH_TOKEN: AUTH_TOKEN,
    TWILIO_API_URL: simulator.url,
    SENDGRID_API_KEY: API_KEY,
    SENDGRID_API_URL: simulator.url,
    SENDGRID_WEBHOOK_KEYS: createPublicKey(SIGNING_KEY).export({ type: 'spki', format: 'der' }).toString('base64'),
    DISPATCH_RETRY_BASE_MS: '50',
    ...env,
  };
  const service = opening.use(await startService({ ...shared, PROCESS_ROLE: 'all', HTTP_PORT: String(httpPort), ...env }));
  const opened = opening.move();
  return {
    service,
    calls: callsTo(service),
    simulator,
    databaseUrl: url,
    startAnother: async (more) => opened.use(await startService({ ...shared, ...more })),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}
