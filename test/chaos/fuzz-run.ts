/**
 * `make fuzz`: random input for every method over the wire, every parser of webhooks, and their endpoints. RUNS: how many inputs, by default a
 * million; SEED repeats a run, TARGET=name is for one. Fails at the first input that is answered with a bug, and shows it.
 */
import { startApp } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';
import { webhookEndpoints } from '../../src/domain/webhook-request.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { callsTo } from '../support/calls.ts';
import { AT_ONCE, type Extent, fuzzEndpoint, fuzzedMethods, fuzzMethod, fuzzParser } from '../support/fuzzing.ts';
import { connectRaw } from '../support/raw-calls.ts';
import { startOwnPostgres } from '../support/servers.ts';
import { authToken, newSigningKey, publicUrl } from '../support/signed-webhooks.ts';

const TELL_EVERY_MS = 5_000;
/** Of all inputs; the rest goes to methods. */
const PARSED_SHARE = 0.5;
const POSTED_SHARE = 0.1;
/** Shared out among all targets before the first one has its turn again, with rows that exist. */
const ROUND_INPUTS = 20_000;

interface Target {
  readonly name: string;
  /** Of all inputs. */
  readonly share: number;
  fuzz(extent: Extent): Promise<void>;
}

async function main(): Promise<void> {
  const inputs = Number(process.env['RUNS'] ?? 1_000_000);
  const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000_000);
  console.log(`SEED=${seed} RUNS=${inputs}`);
  await using opened = new AsyncDisposableStack();
  const postgres = opened.use(await startOwnPostgres());
  const key = newSigningKey();
  const errors: string[] = [];
  const log = createLog({ level: 'error', destination: { write: (line: string) => errors.push(line) } });
  const config = readConfig({
    // A machine that is busy is no bug.
    ...{
      DATABASE_STATEMENT_TIMEOUT_MS: '600000',
      DATABASE_CONNECT_TIMEOUT_MS: '600000',
      DEFAULT_DEADLINE_MS: '600000',
      REQUEST_TIMEOUT_MS: '600000',
    },
    DATABASE_URL: postgres.url,
    AUTH_MODE: 'off',
    ...{ GRPC_HOST: '127.0.0.1', HTTP_HOST: '127.0.0.1', GRPC_PORT: '0', HTTP_PORT: '0', PROCESS_ROLE: 'server' },
    ...{
      PUBLIC_URL: publicUrl,
      TWILIO_ACCOUNT_SID: `AC${'0'.repeat(32)}`,
      TWILIO_AUTH_TOKEN: authToken,
      SENDGRID_WEBHOOK_KEYS: key.publicKey,
    },
  });
  const app = opened.use(await startApp(config, { log, metrics: createMetrics() }));
  const raw = opened.use(await connectRaw(`http://127.0.0.1:${app.grpcPort ?? 0}`));
  const calls = callsTo({ grpcPort: app.grpcPort ?? 0 });
  const ids: string[] = [];
  /** Whatever was deleted is there again. */
  const refresh = async (): Promise<void> => {
    for (const { address, channelType, fromAddress } of (await calls.suppressions.listSuppressions({ pageSize: 200 })).suppressions) {
      await calls.suppressions.deleteSuppression({ address, channelType, fromAddress });
    }
    const { id, conversationId } = await calls.send();
    ids.splice(0, ids.length, id, conversationId);
  };
  let taken = 0;
  const port = { httpPort: app.httpPort, key, onTaken: () => (taken += 1) };
  const methodShare = 1 - PARSED_SHARE - POSTED_SHARE;
  const targets: readonly Target[] = [
    ...fuzzedMethods.map((method) => ({
      name: method.name,
      share: methodShare / fuzzedMethods.length,
      fuzz: (extent: Extent) => fuzzMethod(raw, method, () => ids, extent),
    })),
    ...webhookEndpoints.flatMap((endpoint) => [
      {
        name: `parser of ${endpoint}`,
        share: PARSED_SHARE / webhookEndpoints.length,
        fuzz: (extent: Extent) => fuzzParser(endpoint, extent),
      },
      { name: endpoint, share: POSTED_SHARE / webhookEndpoints.length, fuzz: (extent: Extent) => fuzzEndpoint(port, endpoint, extent) },
    ]),
  ];
  const startedMs = performance.now();
  let [done, toldMs] = [0, 0];
  const wanted = targets.filter(({ name }) => process.env['TARGET'] === undefined || name === process.env['TARGET']);
  for (let round = 0; done < inputs; round += 1) {
    await refresh();
    for (const { name, share, fuzz } of wanted) {
      const runs = Math.max(1, Math.round((share * Math.min(inputs, ROUND_INPUTS)) / AT_ONCE));
      await fuzz({ runs, seed: seed + round });
      done += runs * AT_ONCE;
      if (errors.length > 0) throw new Error(`${name}: a bug was logged: ${errors[0]}`);
      const elapsedMs = performance.now() - startedMs;
      if (elapsedMs - toldMs < TELL_EVERY_MS) continue;
      toldMs = elapsedMs;
      const leftSeconds = Math.max(0, (elapsedMs / done) * (inputs - done)) / 1_000;
      console.error(
        `[${(elapsedMs / 1_000).toFixed(0)} s] ${done.toLocaleString('en-US')} inputs, ${name}; about ${leftSeconds.toFixed(0)} s left`,
      );
    }
  }
  const seconds = (performance.now() - startedMs) / 1_000;
  console.log(
    `PASSED: ${done.toLocaleString('en-US')} inputs in ${seconds.toFixed(0)} s, SEED=${seed}; ${taken} signed webhooks were taken`,
  );
}

try {
  await main();
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
// Nothing else keeps it.
process.exit();
