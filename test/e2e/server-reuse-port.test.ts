/** Several processes on one gRPC port: all are asked, one may stop while the others answer, and nobody shares it by accident. */
import { platform } from 'node:os';
import { createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { freePort } from '../../src/dev/ports.ts';
import { createDatabase } from '../support/database.ts';
import { type ServiceProcess, startService } from '../support/processes.ts';
import { servicesOf } from '../support/protocols.ts';

/** By chance all of them come to one of two processes once in 2^31 runs. */
const CONNECTIONS = 32;

const opened = new AsyncDisposableStack();
let env: Readonly<Record<string, string>>;
let both: readonly [ServiceProcess, ServiceProcess];

beforeAll(async () => {
  const database = opened.use(await createDatabase());
  env = { DATABASE_URL: database.url, GRPC_PORT: String(await freePort()), GRPC_REUSE_PORT: 'true' };
  both = [opened.use(await startService(env)), opened.use(await startService(env))];
});
afterAll(() => opened.disposeAsync());

const callOnNewConnection = async (): Promise<void> => {
  const transport = createGrpcTransport({ baseUrl: `http://127.0.0.1:${env['GRPC_PORT']}` });
  await createClient(MessageService, transport).listMessages({});
};
const callMany = () => Promise.all(Array.from({ length: CONNECTIONS }, callOnNewConnection));

async function answered({ httpPort }: ServiceProcess): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text();
  return Number(/^grpc_server_handled_total\{[^}]*grpc_method="ListMessages"[^}]*grpc_code="OK"\} (\d+)/m.exec(text)?.[1] ?? 0);
}

it.skipIf(platform() !== 'linux')('the kernel spreads connections over them', async () => {
  await callMany();
  const counts = await Promise.all(both.map(answered));
  expect(Math.min(...counts)).toBeGreaterThan(0);
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(CONNECTIONS);
});

it('a process that does not share the port refuses to start on it', async () => {
  const alone = startService({ ...env, GRPC_REUSE_PORT: 'false' });
  await expect(alone).rejects.toThrow(`port ${env['GRPC_PORT']} is in use`);
});

it('a port that one process has for itself is not shared with another one', async () => {
  await using alone = await startService({ ...env, GRPC_PORT: '0', GRPC_REUSE_PORT: 'false' });
  await expect(startService({ ...env, GRPC_PORT: String(alone.grpcPort) })).rejects.toThrow(`port ${alone.grpcPort} is in use`);
  expect((await servicesOf(alone).messages.listMessages({})).messages).toEqual([]);
});

it('when one stops, the others have the port', async () => {
  expect(await both[0].stop()).toBe(0);
  await callMany();
});
