/** What no handler sees: the transport answers it, and its errors keep the contract all the same. */
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ListMessagesRequestSchema } from '../../gen/messaging/v1/message_service_pb.js';
import { startTestApp, type TestApp } from '../support/apps.ts';
import { createDatabase } from '../support/database.ts';
import { failure, servicesOf } from '../support/protocols.ts';
import { connectRaw, failureIn, frame, type RawClient, type RawResponse } from '../support/raw-calls.ts';

const GET_MESSAGE = '/messaging.v1.MessageService/GetMessage';
const LIST_MESSAGES = '/messaging.v1.MessageService/ListMessages';
const WATCH_MESSAGES = '/messaging.v1.MessageService/WatchMessages';

const MAX_REQUEST_BYTES = 1_000_000;

const opened = new AsyncDisposableStack();
let app: TestApp;
let raw: RawClient;

beforeAll(async () => {
  const database = opened.use(await createDatabase());
  const limits = { MAX_REQUEST_BYTES: String(MAX_REQUEST_BYTES), MAX_DEADLINE_MS: '60000' };
  app = opened.use(await startTestApp({ DATABASE_URL: database.url, ...limits }));
  raw = opened.use(await connectRaw(`http://127.0.0.1:${app.grpcPort}`));
});
afterAll(async () => {
  const bugs = app.logLines().filter(({ level }) => level === 'error');
  await opened.disposeAsync();
  expect(bugs).toEqual([]);
});

interface Wire {
  readonly name: string;
  readonly contentType: string;
  readonly encodingHeader: string;
  readonly timeoutHeader: string;
  readonly framed: boolean;
}

const grpc = { encodingHeader: 'grpc-encoding', timeoutHeader: 'grpc-timeout', framed: true };
const connectUnary = { encodingHeader: 'content-encoding', timeoutHeader: 'connect-timeout-ms', framed: false };
const protobufWires: readonly Wire[] = [
  { name: 'gRPC', contentType: 'application/grpc', ...grpc },
  { name: 'gRPC-Web', contentType: 'application/grpc-web+proto', ...grpc },
  { name: 'Connect', contentType: 'application/proto', ...connectUnary },
];
const jsonWires: readonly Wire[] = [
  { name: 'gRPC with JSON', contentType: 'application/grpc+json', ...grpc },
  { name: 'gRPC-Web with JSON', contentType: 'application/grpc-web+json', ...grpc },
  { name: 'Connect with JSON', contentType: 'application/json', ...connectUnary },
];

interface Sent {
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** A message, put into a frame where the protocol has frames. */
  readonly message?: Uint8Array;
  /** Sent as it is. */
  readonly body?: Uint8Array;
  readonly flags?: number;
}

function send(wire: Wire, { path = GET_MESSAGE, headers = {}, message = new Uint8Array(), body, flags }: Sent): Promise<RawResponse> {
  const bytes = body ?? (wire.framed ? frame(message, flags) : message);
  return raw.call({ path, headers: { 'content-type': wire.contentType, ...headers }, body: bytes });
}

const malformed = { code: 'InvalidArgument', reason: 'REQUEST_MALFORMED', domain: 'messaging.v1' };
const tooLarge = { code: 'ResourceExhausted', reason: 'MESSAGE_TOO_LARGE', domain: 'messaging.v1' };

/** 500 MB of nothing, in 500 kB. */
const bomb = Buffer.concat(Array.from({ length: 100 }, () => gzipSync(Buffer.alloc(5_000_000))));

describe.each([...protobufWires, ...jsonWires])('$name', (wire) => {
  const json = wire.contentType.includes('json');
  const valid = json ? Buffer.from('{}') : new Uint8Array();

  it('refuses a message above the limit by its announced length', async () => {
    const answer = await send(wire, { message: Buffer.alloc(MAX_REQUEST_BYTES + 1) });
    expect(failureIn(answer)).toMatchObject({ ...tooLarge, message: `the request is larger than ${MAX_REQUEST_BYTES} bytes` });
  });

  it('refuses a gzip bomb without unpacking it', async () => {
    const before = process.resourceUsage().maxRSS;
    const headers = { [wire.encodingHeader]: 'gzip' };
    const answers = await Promise.all(Array.from({ length: 4 }, () => send(wire, { headers, message: bomb, flags: 1 })));
    for (const answer of answers) expect(failureIn(answer)).toMatchObject(tooLarge);
    // Each unpacked whole would be 500 MB.
    expect((process.resourceUsage().maxRSS - before) / 1_024).toBeLessThan(250);
  });

  it('refuses gzip that is none', async () => {
    const headers = { [wire.encodingHeader]: 'gzip' };
    expect(failureIn(await send(wire, { headers, message: Buffer.from('not gzip'), flags: 1 }))).toMatchObject(malformed);
    const cut = gzipSync(Buffer.alloc(500)).subarray(0, 15);
    expect(failureIn(await send(wire, { headers, message: cut, flags: 1 }))).toMatchObject(malformed);
  });

  it('takes gzip and brotli and refuses what it does not know, naming what it does', async () => {
    const packed = { message: gzipSync(valid), flags: 1, headers: { [wire.encodingHeader]: 'gzip' } };
    expect(failureIn(await send(wire, packed))).toMatchObject({ reason: 'FIELD_INVALID', fields: ['id'] });
    expect(failureIn(await send(wire, { headers: { [wire.encodingHeader]: 'zstd' }, message: valid }))).toMatchObject({
      code: 'Unimplemented',
      reason: 'METHOD_UNIMPLEMENTED',
      message: 'unknown compression "zstd": supported encodings are gzip,br',
    });
  });

  it.each(['abc', '10', '1234567890123S', '-5S', '10X'])('refuses the deadline %s', async (timeout) => {
    const value = wire.framed ? timeout : `${timeout}z`;
    const answer = await send(wire, { headers: { [wire.timeoutHeader]: value }, message: valid });
    expect(failureIn(answer)).toMatchObject({ ...malformed, message: `the header ${wire.timeoutHeader} is malformed` });
  });

  it('refuses a deadline further ahead than it allows', async () => {
    const answer = await send(wire, { headers: { [wire.timeoutHeader]: wire.framed ? '61S' : '61000' }, message: valid });
    expect(failureIn(answer)).toMatchObject({
      ...malformed,
      message: 'a deadline 61000 ms ahead is more than this server allows, 60000 ms',
    });
  });

  it('knows no other method and no other service', async () => {
    for (const path of ['/messaging.v1.MessageService/Nothing', '/messaging.v2.MessageService/GetMessage', '/', '/%ff?x=1']) {
      expect(failureIn(await send(wire, { path, message: valid }))).toMatchObject({
        code: 'Unimplemented',
        reason: 'METHOD_UNIMPLEMENTED',
        message: `there is no method ${path.split('?')[0]}`,
      });
    }
  });

  it('refuses GET where something would be written', async () => {
    const path = '/messaging.v1.MessageService/CancelMessage';
    const answer = await raw.call({ path, headers: { ':method': 'GET', 'content-type': wire.contentType } });
    expect(failureIn(answer)).toMatchObject(malformed);
  });

  it('survives an authority that is none', async () => {
    expect(failureIn(await send(wire, { headers: { ':authority': '[[' }, message: valid }))).toMatchObject(malformed);
  });
});

describe.each(protobufWires)('$name', (wire) => {
  it('refuses bytes that are no protobuf', async () => {
    for (const message of [[0x0a, 0xff], [0xff, 0xff, 0xff], [0x0a], [0x0f, 0x01]]) {
      const answer = await send(wire, { message: Uint8Array.from(message) });
      expect(failureIn(answer)).toMatchObject(malformed);
      expect(answer.status).toBe(wire.framed ? 200 : 400);
    }
  });

  it('refuses text that is no UTF-8 and names the field', async () => {
    expect(failureIn(await send(wire, { message: Uint8Array.from([0x0a, 2, 0xc3, 0x28]) }))).toMatchObject({ code: 'InvalidArgument' });
  });

  it('refuses protobuf that is nested without end', async () => {
    const startOfUnknownGroup = Buffer.from([0xa3, 0x06]);
    const message = Buffer.alloc(900_000, startOfUnknownGroup);
    expect(failureIn(await send(wire, { path: LIST_MESSAGES, message }))).toMatchObject(malformed);
  });

  it('ignores fields it does not know, as a newer client sends them', async () => {
    const known = toBinary(ListMessagesRequestSchema, create(ListMessagesRequestSchema, { pageSize: 1 }));
    const answer = await send(wire, { path: LIST_MESSAGES, message: Buffer.concat([known, Buffer.from([0xf8, 0x3f, 0x01])]) });
    expect(answer.status).toBe(200);
    expect(() => failureIn(answer)).toThrow('no error');
  });
});

describe.each(jsonWires)('$name', (wire) => {
  const refused = async (text: string | Uint8Array, path = LIST_MESSAGES) =>
    failureIn(await send(wire, { path, message: Buffer.from(text) }));

  it('refuses text that is no JSON, or not an object', async () => {
    for (const text of ['{', '', '[]', '"x"', '{"pageSize":1,}', '{} {}']) expect(await refused(text)).toMatchObject(malformed);
  });

  it('refuses JSON that is no UTF-8', async () => {
    const text = Buffer.concat([Buffer.from('{"pageToken":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}')]);
    expect(await refused(text)).toMatchObject(malformed);
  });

  it('names the field of a value of the wrong type', async () => {
    expect(await refused('{"pageSize":"many"}')).toMatchObject({ ...malformed, fields: ['page_size'] });
    expect(await refused('{"filter":{"statuses":["MESSAGE_STATUS_LOST"]}}')).toMatchObject({ ...malformed, fields: ['filter.statuses'] });
    expect(await refused('{"filter":{"createdAfter":"yesterday"}}')).toMatchObject({
      ...malformed,
      fields: ['filter.created_after', 'filter.created_before'],
    });
    expect(await refused('{"filter":{"direction":"\\ud800"}}')).toMatchObject(malformed);
    expect(await refused('{"filter":{"direction":"UPWARDS"}}')).toMatchObject({ ...malformed, fields: ['filter.direction'] });
  });

  it('names a field that does not exist', async () => {
    const answer = await refused('{"pagesize":3}');
    expect(answer).toMatchObject(malformed);
    expect(answer.message).toContain('key "pagesize" is unknown');
  });

  it('refuses JSON that is nested without end', async () => {
    const deep = `{"message":{"metaData":{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}}}`;
    expect(await refused(deep, '/messaging.v1.MessageService/SendMessage')).toMatchObject(malformed);
  });
});

describe.each(['application/grpc', 'application/grpc-web+proto'])('frames of %s', (contentType) => {
  const call = (path: string, body: Uint8Array) => raw.call({ path, headers: { 'content-type': contentType }, body });

  it('must be one for a unary call', async () => {
    expect(failureIn(await call(GET_MESSAGE, new Uint8Array()))).toMatchObject(malformed);
    expect(failureIn(await call(GET_MESSAGE, Buffer.concat([frame(new Uint8Array()), frame(new Uint8Array())])))).toMatchObject(malformed);
  });

  it('must be whole', async () => {
    expect(failureIn(await call(GET_MESSAGE, frame(Buffer.alloc(50)).subarray(0, 20)))).toMatchObject(malformed);
    expect(failureIn(await call(GET_MESSAGE, Buffer.from([0, 0])))).toMatchObject(malformed);
  });

  it('cannot be compressed in a way that the headers do not name', async () => {
    expect(failureIn(await call(GET_MESSAGE, frame(gzipSync('x'), 1)))).toMatchObject(malformed);
  });
});

describe('Connect streams', () => {
  const call = (body: Uint8Array, headers = {}) =>
    raw.call({ path: WATCH_MESSAGES, headers: { 'content-type': 'application/connect+json', ...headers }, body });

  it('end with an error that says what is wrong with the request', async () => {
    expect(failureIn(await call(frame(Buffer.from('{'))))).toMatchObject(malformed);
    expect(failureIn(await call(new Uint8Array()))).toMatchObject(malformed);
    expect(failureIn(await call(frame(Buffer.alloc(MAX_REQUEST_BYTES + 1))))).toMatchObject(tooLarge);
    expect(failureIn(await call(frame(Buffer.from('{}')), { 'connect-timeout-ms': 'soon' }))).toMatchObject(malformed);
    expect(failureIn(await call(frame(Buffer.from('{}')), { 'connect-content-encoding': 'zstd' }))).toMatchObject({
      code: 'Unimplemented',
    });
  });

  it('are told of a method that does not exist in their own form', async () => {
    const headers = { 'content-type': 'application/connect+proto' };
    const answer = await raw.call({ path: '/messaging.v1.MessageService/Nothing', headers, body: frame(new Uint8Array()) });
    expect(answer.status).toBe(200);
    expect(failureIn(answer)).toMatchObject({ code: 'Unimplemented', reason: 'METHOD_UNIMPLEMENTED' });
  });
});

describe('Connect by GET', () => {
  const get = (query: string) => raw.call({ path: `${LIST_MESSAGES}?${query}`, headers: { ':method': 'GET' } });

  it('reads', async () => {
    const answer = await get(`connect=v1&encoding=json&message=${encodeURIComponent('{"pageSize":1}')}`);
    expect({ status: answer.status, body: answer.body.toString() }).toEqual({ status: 200, body: '{}' });
  });

  it.each([
    'encoding=json&message={',
    'encoding=proto&base64=1&message=$$$',
    'encoding=proto&message=%0a%ff',
    'encoding=xml&message=x',
    'encoding=json&compression=gzip&message={}',
    '',
  ])('refuses the query "%s"', async (query) => {
    expect(failureIn(await get(query))).toMatchObject(malformed);
  });
});

describe('a content-type that nobody speaks', () => {
  it.each(['application/grpc+thrift', 'application/grpc-web-text', 'text/plain', 'application/connect+xml', undefined])(
    '%s',
    async (contentType) => {
      const headers = contentType === undefined ? {} : { 'content-type': contentType };
      const answer = await raw.call({ path: GET_MESSAGE, headers, body: Buffer.from('x') });
      expect(failureIn(answer)).toMatchObject(malformed);
      expect(answer.status).toBe(contentType?.startsWith('application/grpc') ? 200 : 415);
    },
  );
});

describe('a connection', () => {
  it('without :authority gets an answer', async () => {
    const answer = await raw.call({
      path: GET_MESSAGE,
      headers: { 'content-type': 'application/grpc', host: 'x' },
      body: frame(new Uint8Array()),
    });
    expect(failureIn(answer)).toMatchObject({ reason: 'FIELD_INVALID' });
  });

  it('that speaks no HTTP/2 is closed and does no harm', async () => {
    await new Promise<void>((resolve, reject) => {
      const socket = connect(app.grpcPort, '127.0.0.1', () => socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n'));
      socket.on('data', () => undefined);
      socket.once('close', () => resolve());
      socket.once('error', reject);
    });
    expect(await failure(servicesOf(app).messages.getMessage({ id: 'x' }))).toMatchObject({ reason: 'FIELD_INVALID' });
  });
});
