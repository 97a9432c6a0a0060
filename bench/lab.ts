/** The servers behind the contenders, the contenders themselves, and which core each of them runs on. */
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { toJsonString } from '@bufbuild/protobuf';
import { Redis } from 'ioredis';
import { MessageSchema } from '../gen/messaging/v1/message_pb.js';
import { variables } from '../src/config-variables.ts';
import { repositoryFolder } from '../src/dev/data-folder.ts';
import { startPostgres } from '../src/dev/postgres.ts';
import { startRedis } from '../src/dev/redis.ts';
import { superviseUntil } from '../src/dev/supervised-process.ts';
import { untilSourceIs } from './check-answers.ts';
import { openPg } from './contenders/sources.ts';
import { type Load, startLoad } from './load-process.ts';
import type { Contender } from './plan.ts';
import { HOT_ROWS, plainKey } from './requests.ts';
import { createDatabases, databaseUrl, messageId } from './rows.ts';

const SERVER_CORE = '0';
const LOAD_CORE = '1';
const BOTH_CORES = '0,1';
const TRACE_SAMPLE_RATIO = '0.01';

export interface RunningContender extends AsyncDisposable {
  readonly name: string;
  readonly port: number;
  readonly pid: number;
  /** Stops it where it is: a service that idles still polls. */
  freeze(): void;
  /** Ready to be measured again. */
  thaw(): Promise<void>;
}

export interface Lab extends AsyncDisposable {
  readonly postgresUrl: string;
  readonly redis: Redis;
  readonly load: Load;
  start(contender: Contender, nodeArguments?: readonly string[]): Promise<RunningContender>;
}

/** A process, with all its threads and what it starts from now on. */
function pin(pid: number, core: string): void {
  const { status } = spawnSync('taskset', ['-acp', core, String(pid)], { stdio: 'ignore' });
  if (status !== 0) throw new Error('The bench needs Linux with taskset (util-linux) to give servers and load a core each.');
}

/** Takes traces and forgets them. */
async function startTraceSink(): Promise<{ readonly url: string } & AsyncDisposable> {
  const server = createServer((request, response) => {
    request.resume().on('end', () => response.end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the trace sink has no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** What the machine's own environment says of the service, or to Node, would change what is measured. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const isSetting = (name: string) => name in variables || /^(OTEL_|NODE_OPTIONS$)/.test(name);
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !isSetting(name)));
}

/** For the plain GET of the stock servers. */
async function fillPlainKeys(redis: Redis, postgresUrl: string): Promise<void> {
  const source = openPg(postgresUrl);
  for (let row = 0; row < HOT_ROWS; row += 1) {
    const message = await source.find(messageId(row));
    await redis.set(plainKey(message.id), toJsonString(MessageSchema, message));
  }
  await source.close();
}

export interface LabOptions {
  readonly rows: number;
  readonly databases: readonly string[];
}

export async function openLab({ rows, databases }: LabOptions): Promise<Lab> {
  if (availableParallelism() < 2) throw new Error('The bench needs two cores: one for the server, one for everything else.');
  pin(process.pid, LOAD_CORE);
  await using opened = new AsyncDisposableStack();
  const sink = opened.use(await startTraceSink());
  const [postgres, redisServer] = await Promise.all([startPostgres({ fast: true }), startRedis()]);
  opened.use(postgres);
  if (redisServer === undefined) throw new Error('There is no redis-server; run `make peers`.');
  opened.use(redisServer);
  await createDatabases(postgres.url, rows, databases);
  const redis = opened.adopt(new Redis({ host: redisServer.host, port: redisServer.port }), (client) => client.disconnect());
  await fillPlainKeys(redis, postgres.url);
  const load = opened.use(startLoad());

  const start: Lab['start'] = async ({ name, script, variant = '', database, env, source }, nodeArguments = []) => {
    let output = '';
    const portOf = (text: string): string | undefined => /^ready (\d+)$/m.exec(text)?.[1];
    const running = await superviseUntil((text) => portOf(text) !== undefined, {
      command: 'taskset',
      args: ['-c', BOTH_CORES, process.execPath, ...nodeArguments, join(repositoryFolder, `bench/contenders/${script}.ts`), variant],
      stopSignal: 'SIGTERM',
      env: {
        ...cleanEnvironment(),
        DATABASE_URL: database === undefined ? postgres.url : databaseUrl(postgres.url, database),
        REDIS_HOST: redisServer.host,
        REDIS_PORT: String(redisServer.port),
        GRPC_HOST: '127.0.0.1',
        GRPC_PORT: '0',
        HTTP_HOST: '127.0.0.1',
        HTTP_PORT: '0',
        AUTH_MODE: 'off',
        OTEL_EXPORTER_OTLP_ENDPOINT: sink.url,
        TRACE_SAMPLE_RATIO,
        ...env,
      },
      onOutput: (text) => {
        output = (output + text).slice(-8_192);
      },
    });
    // Starting is quicker on both, and only the service of requests is measured.
    pin(running.pid, SERVER_CORE);
    const { pid } = running;
    const port = Number(portOf(output));
    return {
      ...{ name, port, pid },
      freeze: () => void process.kill(pid, 'SIGSTOP'),
      async thaw() {
        process.kill(pid, 'SIGCONT');
        if (source !== undefined) await untilSourceIs(source, { name, port });
      },
      [Symbol.asyncDispose]: async () => void (await running.stop()),
    };
  };
  const closing = opened.move();
  return { postgresUrl: postgres.url, redis, load, start, [Symbol.asyncDispose]: () => closing.disposeAsync() };
}
