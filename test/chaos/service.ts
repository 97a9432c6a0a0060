/** One process of the service under test: src/main.ts with pauses in the cache's gaps. See chaosVariables for how it is told. */
import { setTimeout as wait } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { FileOptionsSchema } from '@bufbuild/protobuf/wkt';
import { ConversationSchema } from '../../gen/messaging/v1/conversation_pb.js';
import { MessageSchema } from '../../gen/messaging/v1/message_pb.js';
import { startApp } from '../../src/app.ts';
import { openCache } from '../../src/cache/open-cache.ts';
import { readConfig } from '../../src/config.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { openNaiveCache } from './naive-cache.ts';
import { withPauses } from './pauses.ts';

const { CHAOS_PAUSE_PROBABILITY = '0', CHAOS_SEED = '1', CHAOS_BUILD = '', CACHE_PROTOCOL = '' } = process.env;

/** Another build has another contract, and so another schema id in its cells. */
function pretendToBeBuild(name: string): void {
  for (const { file } of [MessageSchema, ConversationSchema]) file.proto.options = create(FileOptionsSchema, { javaPackage: name });
}

if (CHAOS_BUILD !== '') pretendToBeBuild(CHAOS_BUILD);
const open = CACHE_PROTOCOL === 'naive' ? openNaiveCache : openCache;
const config = readConfig();
const log = createLog({ level: config.logLevel });

/** SIGUSR2: die as soon as the next transaction has committed. */
let condemned = false;
process.on('SIGUSR2', () => {
  condemned = true;
});
const pauses = {
  probability: Number(CHAOS_PAUSE_PROBABILITY),
  random: seededRandom(Number(CHAOS_SEED)),
  wait: (ms: number) => wait(ms),
  afterCommit: () => condemned && process.kill(process.pid, 'SIGKILL'),
};

const stop = Promise.withResolvers<void>();
process.on('SIGTERM', () => stop.resolve());
{
  await using app = await startApp(config, { log, metrics: createMetrics() }, (options, database, instruments) =>
    open(options, { ...database, ...withPauses(database, pauses) }, instruments),
  );
  log.info({ grpc_port: app.grpcPort, http_port: app.httpPort }, 'serving');
  await stop.promise;
}
process.exit();
