/** The server of this repository with one small handler: what is left of a stock stack once the transport is ours. `node lane.ts SOURCE` */
import type { ConnectRouter } from '@connectrpc/connect';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { openAccess } from '../../src/rpc/access-control.ts';
import { startRpcServer } from '../../src/rpc/server.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { announce } from './serve.ts';
import { openSource } from './sources.ts';

const find = await openSource(process.argv[2]);
const limits = {
  maxRequestBytes: 8_388_608,
  maxResponseBytes: 16_777_216,
  defaultDeadlineMs: 30_000,
  maxDeadlineMs: 3_600_000,
  maxConcurrentStreams: 1_000,
  maxConnections: 10_000,
  maxConnectionsPerAddress: 10_000,
  requestTimeoutMs: 10_000,
};
const options = { host: '127.0.0.1', port: 0, tls: undefined, leanLane: true, ...limits };
const route = (router: ConnectRouter) => router.service(MessageService, { getMessage: async ({ id }) => ({ message: await find(id) }) });
const parts = { log: createLog({ level: 'info' }), metrics: createMetrics(), routes: [route], access: openAccess };
announce((await startRpcServer(options, parts)).port);
