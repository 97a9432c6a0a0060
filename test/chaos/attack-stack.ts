/** The service under attack, in cleartext and with TLS, as processes of their own over real PostgreSQL and Redis. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type ClientHttp2Session, connect } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createMessagingClient } from '../../src/client/messaging-client.ts';
import { createAuthority, issueCertificate } from '../../src/dev/certificates.ts';
import { startRedis } from '../../src/dev/redis.ts';
import { type ServiceProcess, startService } from '../support/processes.ts';
import { startOwnPostgres } from '../support/servers.ts';
import { until } from '../support/until.ts';

export interface Attacked {
  readonly service: ServiceProcess;
  readonly ca: Buffer | undefined;
  /** After a full collection. */
  residentBytes(): Promise<number>;
  /** The most since it was asked last, garbage included. */
  peakBytes(): number;
  /** Connections that it closed by itself, by reason, since it started. */
  closed(): Promise<Readonly<Record<string, number>>>;
}

export interface AttackStack extends AsyncDisposable {
  readonly plain: Attacked;
  readonly secure: Attacked;
  /** Of one that exists. */
  readonly messageId: string;
}

/** Whose messages are long. */
export const LONG_ADDRESS = '+14155552670';
/** Bodies that make a page of 200 messages 300 KB long. */
const BODY = 'x'.repeat(1_500);
const MESSAGES = 300;
const BATCH = 100;
const WARM_UP_CALLS = 4_000;
const WARM_UP_LISTS = 400;
const AT_ONCE = 50;
const PEAKS = 3;
const HEALTH = '/grpc.health.v1.Health/Check';
/** Nobody looks at it here; as long as some are. */
const TOKEN = `Bearer ${'x'.repeat(2_000)}`;

/** See proc(5), clear_refs. */
const FORGET_PEAK = '5';

function attacked(service: ServiceProcess, ca: Buffer | undefined): Attacked {
  const told = (): readonly string[] => service.output().match(/\{"residentBytes":\d+/g) ?? [];
  return {
    service,
    ca,
    async residentBytes() {
      const before = told().length;
      process.kill(service.pid, 'SIGUSR2');
      await until('memory is told', () => told().length > before);
      return Number(told().at(-1)?.split(':')[1]);
    },
    peakBytes() {
      const [, kibibytes] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${service.pid}/status`, 'utf8')) ?? [];
      writeFileSync(`/proc/${service.pid}/clear_refs`, FORGET_PEAK);
      return Number(kibibytes) * 1_024;
    },
    async closed() {
      const text = await (await fetch(`http://127.0.0.1:${service.httpPort}/metrics`)).text();
      const samples = text.matchAll(/^grpc_connections_closed_total\{reason="(\w+)"\} (\d+)$/gm);
      return Object.fromEntries([...samples].map(([, reason, closed]) => [reason, Number(closed)]));
    },
  };
}

/** Calls over connections of their own, all at once. */
async function burst({ service, ca }: Attacked, connections: number, callsEach: number): Promise<void> {
  const headers = { ':method': 'POST', ':path': HEALTH, 'content-type': 'application/grpc', authorization: TOKEN };
  const call = (session: ClientHttp2Session) =>
    new Promise<void>((resolve, reject) => {
      const stream = session.request(headers);
      stream.once('error', reject).once('close', resolve).resume().end(Buffer.alloc(5));
    });
  await Promise.all(
    Array.from({ length: connections }, async () => {
      const session = connect(`${ca ? 'https' : 'http'}://localhost:${service.grpcPort}`, { ...(ca && { ca }) });
      await new Promise((resolve, reject) => session.once('remoteSettings', resolve).once('error', reject));
      await Promise.all(Array.from({ length: callsEach }, () => call(session)));
      session.destroy();
    }),
  );
}

/** Code is compiled, and memory is what honest peaks need: what grows later grows for another reason. */
async function warmUp(attacked: Attacked): Promise<string> {
  const { service, ca } = attacked;
  using client = createMessagingClient(`localhost:${service.grpcPort}`, { deadlineMs: 60_000, ...(ca && { tls: { ca } }) });
  const message = (index: number) => ({
    message: { fromAddress: LONG_ADDRESS, toAddress: `+1415555${2_000 + (index % 500)}`, body: BODY },
  });
  let id = '';
  for (let first = 0; first < MESSAGES; first += BATCH) {
    const requests = Array.from({ length: BATCH }, (_, index) => message(first + index));
    const { responses } = await client.messages.batchSendMessages({ requests });
    id = responses[0]?.message?.id ?? '';
  }
  for (let call = 0; call < WARM_UP_CALLS; call += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, () => client.messages.getMessage({ id })));
  }
  const list = { pageSize: 200, filter: { address: LONG_ADDRESS } };
  for (let call = 0; call < WARM_UP_LISTS; call += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, () => client.messages.listMessages(list)));
  }
  for (let peak = 0; peak < PEAKS; peak += 1) {
    await burst(attacked, 10, 500);
    await burst(attacked, 250, 1);
  }
  return id;
}

export async function startAttackStack(): Promise<AttackStack> {
  await using opening = new AsyncDisposableStack();
  const postgres = opening.use(await startOwnPostgres());
  const redis = await startRedis();
  if (redis !== undefined) opening.use(redis);
  const folder = mkdtempSync(join(tmpdir(), 'messaging-attack-'));
  chmodSync(folder, 0o755);
  opening.defer(() => rmSync(folder, { recursive: true, force: true }));
  const validity = { from: new Date(Date.now() - 60_000), to: new Date(Date.now() + 86_400_000) };
  const authority = await createAuthority('attack', validity);
  const { cert, key } = await issueCertificate(authority, 'server', { cn: 'localhost', dns: ['localhost'] }, validity);
  const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  writeFileSync(certFile, cert);
  writeFileSync(keyFile, key);
  const env = {
    DATABASE_URL: postgres.url,
    ...(redis === undefined ? {} : { REDIS_HOST: redis.host, REDIS_PORT: String(redis.port), REDIS_COMMAND_TIMEOUT_MS: '1000' }),
    REQUEST_TIMEOUT_MS: '500',
    NODE_OPTIONS: `--expose-gc --import=${join(import.meta.dirname, 'attack-memory.ts')}`,
  };
  const tls = { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile };
  const plain = attacked(opening.use(await startService(env)), undefined);
  const secure = attacked(opening.use(await startService({ ...env, ...tls })), Buffer.from(authority.cert));
  const [messageId] = [await warmUp(plain), await warmUp(secure)];
  const opened = opening.move();
  return { plain, secure, messageId, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}
