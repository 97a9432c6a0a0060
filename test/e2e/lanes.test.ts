/** Which lane answers a call. The answers are the same, so this is seen from the inside: only Connect's lane makes Node's request object. */
import { createClient } from '@connectrpc/connect';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { CacheService } from '../../gen/messaging/v1/cache_service_pb.js';
import { answerByConnect } from '../../src/rpc/connect-lane.ts';
import { startTestApp } from '../support/apps.ts';
import { createDatabase, type Database } from '../support/database.ts';
import { startService } from '../support/processes.ts';
import { servicesOf } from '../support/protocols.ts';

vi.mock('../../src/rpc/connect-lane.ts', { spy: true });

/** What the project of this run says: the lean lane, but for `e2e-connect-lane`. */
const leanByDefault = process.env['LEAN_LANE'] !== 'false';

let database: Database;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database[Symbol.asyncDispose]());
beforeEach(() => void vi.mocked(answerByConnect).mockClear());

const byConnect = () => vi.mocked(answerByConnect).mock.calls.length;

const settings = [
  { env: {}, lean: leanByDefault },
  { env: { LEAN_LANE: 'true' }, lean: true },
  { env: { LEAN_LANE: 'false' }, lean: false },
];

describe.each(settings)('an app in the process of its test, with $env', ({ env, lean }) => {
  it(`answers unary gRPC calls ${lean ? 'past' : 'by'} Connect`, async () => {
    await using app = await startTestApp({ DATABASE_URL: database.url, ...env });
    const { messages, transport } = servicesOf(app);
    await messages.listMessages({});
    await expect(messages.getMessage({ id: 'none' })).rejects.toThrow('id');
    expect(byConnect()).toBe(lean ? 0 : 2);
    // A stream of plain gRPC is for the lean lane too; another protocol is not.
    await expect(Array.fromAsync(createClient(CacheService, transport).warmCache({ entity: 1, count: 1 }))).rejects.toThrow(
      'without a cache',
    );
    await servicesOf(app, 'Connect').messages.listMessages({});
    expect(byConnect()).toBe(lean ? 1 : 4);
  });
});

/** Tells on standard output of each call that Connect answers. */
const WITNESS = `
  import http2 from 'node:http2';
  import { syncBuiltinESMExports } from 'node:module';
  const { Http2ServerRequest } = http2;
  http2.Http2ServerRequest = class extends Http2ServerRequest {
    constructor(...parameters) {
      super(...parameters);
      console.log('Connect answers ' + this.url);
    }
  };
  syncBuiltinESMExports();
`;

it(`a process of the service answers unary gRPC calls ${leanByDefault ? 'past' : 'by'} Connect`, async () => {
  const witness = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(WITNESS)}` };
  await using service = await startService({ DATABASE_URL: database.url, ...witness });
  await servicesOf(service).messages.listMessages({});
  await servicesOf(service, 'Connect').messages.listMessages({});
  await service.stop();
  expect(service.output().match(/Connect answers \S+ListMessages/g)).toHaveLength(leanByDefault ? 1 : 2);
});
