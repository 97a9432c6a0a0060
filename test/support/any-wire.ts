/** A call as bytes on the wire, sound or broken in one of the ways that clients, proxies and attackers break it. */
import type { OutgoingHttpHeaders } from 'node:http2';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import type { AnyCall } from './lane-world.ts';
import { frame, type RawRequest } from './raw-calls.ts';

export interface WireRequest {
  /** What is special about it; for counting. */
  readonly kind: string;
  readonly request: RawRequest;
}

export interface WireLimits {
  readonly maxRequestBytes: number;
}

/** Makes another request of a sound one. */
interface Change {
  readonly kind: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: (message: Uint8Array) => Uint8Array;
  readonly path?: (path: string) => string;
  /** What comes of it may be a sound request too; not for calls that are fragile. */
  readonly makesOther?: boolean;
  readonly more?: Partial<RawRequest>;
}

type Changes = fc.Arbitrary<Change>;

/** A header with one of these values. */
const header = (kind: string, name: string, values: readonly (string | readonly string[] | undefined)[]): Changes =>
  fc.constantFrom(...values).map((value) => ({ kind, headers: { [name]: value as string } }));
const body = (kind: string, change: (message: Uint8Array) => Uint8Array, more: Partial<Change> = {}): Changes =>
  fc.constant({ kind, body: change, ...more });

const gzipped = (message: Uint8Array) => frame(gzipSync(message), 1);
/** Number 1023, which no message has. */
const UNKNOWN_FIELD = Buffer.from([0xf8, 0x3f, 0x01]);
const GROUP = Buffer.from([0xfb, 0x3f, 0x08, 0x01, 0xfc, 0x3f]);

/** With an unknown field at its end that makes it so long. */
function padded(message: Uint8Array, bytes: number): Buffer {
  const length = bytes - message.byteLength - 5;
  return Buffer.concat([
    message,
    Buffer.from([0xfa, 0x3f, (length & 0x7f) | 0x80, ((length >> 7) & 0x7f) | 0x80, length >> 14]),
    Buffer.alloc(length),
  ]);
}

/** The head of a frame that lies about what follows. */
function lying(message: Uint8Array, by: number): Buffer {
  const bytes = frame(message);
  bytes.writeUInt32BE((message.byteLength + by) >>> 0, 1);
  return bytes;
}

const frames = ({ maxRequestBytes }: WireLimits): Changes =>
  fc.oneof(
    fc
      .nat()
      .map((at): Change => ({ kind: 'a frame that is cut', body: (message) => frame(message).subarray(0, at % (message.byteLength + 5)) })),
    fc
      .uint8Array({ minLength: 1, maxLength: 20 })
      .map((more): Change => ({ kind: 'bytes after the frame', body: (message) => Buffer.concat([frame(message), more]) })),
    body('two frames', (message) => Buffer.concat([frame(message), frame(message)])),
    body('an empty frame before it', (message) => Buffer.concat([frame(new Uint8Array()), frame(message)])),
    body('no frame', () => new Uint8Array()),
    body('an empty frame', () => frame(new Uint8Array())),
    fc
      .constantFrom(-3, -1, 1, 2, 300, -5_000, 0x7fffffff)
      .map((by): Change => ({ kind: 'a wrong length', body: (message) => lying(message, by), makesOther: by < 0 })),
    fc
      .constantFrom(-5, 0, 1, 5_000)
      .map((by): Change => ({ kind: 'about as long as is allowed', body: (message) => frame(padded(message, maxRequestBytes + by)) })),
    fc.constantFrom(2, 3, 0x7f, 0x80, 0x81, 0xff).map((flags): Change => ({ kind: 'flags', body: (message) => frame(message, flags) })),
    body('the flag of compression', (message) => frame(message, 1)),
    body('compressed without a header', gzipped),
    body('gzip', gzipped, { headers: { 'grpc-encoding': 'gzip' } }),
    body('gzip, not compressed', (message) => frame(message), { headers: { 'grpc-encoding': 'gzip' } }),
    body('brotli', (message) => frame(brotliCompressSync(message), 1), { headers: { 'grpc-encoding': 'br' } }),
    body('gzip that is cut', (message) => frame(gzipSync(message).subarray(0, 12), 1), { headers: { 'grpc-encoding': 'gzip' } }),
    body('gzip of too much', () => gzipped(Buffer.alloc(maxRequestBytes + 1)), { headers: { 'grpc-encoding': 'gzip' } }),
  );

const messages: Changes = fc.oneof(
  fc
    .uint8Array({ minLength: 1, maxLength: 40 })
    .map((bytes): Change => ({ kind: 'random bytes', body: () => frame(bytes), makesOther: true })),
  fc.tuple(fc.nat(), fc.nat(255)).map(([at, byte]): Change => {
    const change = (message: Uint8Array) => frame(message.map((old, index) => (index === at % message.byteLength ? byte : old)));
    return { kind: 'a changed byte', body: change, makesOther: true };
  }),
  fc.nat().map(
    (at): Change => ({
      kind: 'a message that is cut',
      body: (message) => frame(message.subarray(0, at % (message.byteLength + 1))),
      makesOther: true,
    }),
  ),
  body('an unknown field', (message) => frame(Buffer.concat([message, UNKNOWN_FIELD, GROUP]))),
  body('an unknown field first', (message) => frame(Buffer.concat([UNKNOWN_FIELD, message]))),
  body('a group that does not end', (message) => frame(Buffer.concat([message, GROUP.subarray(0, 3)]))),
  body('text that is no UTF-8', (message) => frame(Buffer.concat([message, Buffer.from([0x0a, 2, 0xc3, 0x28])]))),
);

const TYPES = [
  'application/grpc+proto',
  'APPLICATION/GRPC',
  'application/grpc+json',
  'application/grpc; charset=utf-8',
  'application/grpc+proto;x=1',
  'application/grpc+json; charset=utf-8',
  'application/grpc-web+proto',
  'application/grpc+thrift',
  'application/proto',
  'application/json',
  'application/grpc ',
  'text/plain',
  '',
  undefined,
];
const TIMEOUTS = ['5S', '1H', '00000020S', '59999999u', '99999999H', '100000000S', '1', 'S', '-1S', '1s', '1.5S', '', ' 5S', ['5S', '6S']];
const ENCODINGS = [
  'gzip',
  'br',
  'identity',
  'gzip,br',
  'br, gzip',
  'snappy',
  'snappy,gzip',
  '',
  ' gzip ',
  'GZIP',
  'gzip;q=0.5',
  '*',
  ['gzip', 'br'],
  ['identity', 'gzip'],
];
const REQUEST_ENCODINGS = ['identity', '', 'gzip', 'br', 'zstd', 'IDENTITY', 'identity,gzip', ['identity', 'identity']];
const AUTHORITIES = [
  'EXAMPLE.com',
  'example.com:80',
  '127.0.0.1:1',
  '[::1]:50051',
  '[[',
  'a b',
  'a/b',
  'host:99999',
  'xn--nxasmq6b',
  '%20',
  '',
  'x'.repeat(300),
];

const headers: Changes = fc.oneof(
  { weight: 3, arbitrary: header('content-type', 'content-type', TYPES) },
  { weight: 3, arbitrary: header('grpc-timeout', 'grpc-timeout', TIMEOUTS) },
  { weight: 3, arbitrary: header('grpc-accept-encoding', 'grpc-accept-encoding', ENCODINGS) },
  { weight: 2, arbitrary: header('grpc-encoding', 'grpc-encoding', REQUEST_ENCODINGS) },
  header(':authority', ':authority', AUTHORITIES),
  fc.constantFrom('localhost', '[[', '').map((host): Change => ({ kind: 'host', headers: { ':authority': undefined, host } })),
  header(':method', ':method', ['GET', 'PUT', 'OPTIONS', 'HEAD', 'post', 'DELETE']),
  header(':scheme', ':scheme', ['https', 'ftp']),
  header('te', 'te', [undefined]),
  header('expect', 'expect', ['100-continue', '100-Continue', 'nothing']),
  header('content-encoding', 'content-encoding', ['gzip', 'identity']),
  header('accept-encoding', 'accept-encoding', ['gzip', 'br']),
  header('content-length', 'content-length', ['x']),
  header('metadata', 'x-some-bin', ['AAEC/w', 'AAEC/w==', '!!!', '', ['AA', 'AQ']]),
  header('metadata', 'x-some', ['text', 'a, b', 'x'.repeat(5_000), ['one', 'two'], 'caf\u00e9']),
  header('metadata', 'cookie', [['a=1', 'b=2'], 'a=1']),
  header('metadata', 'grpc-status', ['5']),
  header('connect headers', 'connect-protocol-version', ['1', '2']),
  header('connect headers', 'connect-timeout-ms', ['5000', 'soon']),
  header('traceparent', 'traceparent', [
    '00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01',
    '00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00',
    'none',
    '',
  ]),
);

const paths: Changes = fc
  .constantFrom<(path: string) => string>(
    (path) => `${path}?`,
    (path) => `${path}?a=b&c=%ff`,
    (path) => `${path}?${'x'.repeat(3_000)}`,
    (path) => `${path}/`,
    (path) => `/${path}`,
    (path) => path.toLowerCase(),
    (path) => `${path}s`,
    (path) => `${path}%20`,
    (path) => `${path}#x`,
    () => '/',
    () => '*',
  )
  .map((path) => ({ kind: 'path', path }));

const endings: Changes = fc.oneof(
  fc.constant<Change>({ kind: 'headers only', more: { headersOnly: true } }),
  fc.constantFrom('x-trailer', 'grpc-status').map((name): Change => ({ kind: 'trailers', more: { trailers: { [name]: '0' } } })),
);

/** The deadline passes while the request has not ended: no handler is asked, so that no clock decides between two answers. */
const endless: Changes = fc.oneof(
  fc
    .constantFrom('20m', '30000u', '25000000n')
    .map((timeout): Change => ({ kind: 'no end', headers: { 'grpc-timeout': timeout }, more: { endless: true } })),
  fc.nat().map(
    (at): Change => ({
      kind: 'no end, and not all of it',
      headers: { 'grpc-timeout': '20m' },
      body: (message) => frame(message).subarray(0, at % (message.byteLength + 5)),
      more: { endless: true },
    }),
  ),
);

/** The same bytes in DATA frames of their own. */
function divide(bytes: Uint8Array, cuts: readonly number[]): readonly Uint8Array[] {
  const places = [0, ...cuts.map((cut) => cut % (bytes.byteLength + 1)).toSorted((left, right) => left - right), bytes.byteLength];
  return places.slice(1).map((end, index) => bytes.subarray(places[index], end));
}

/** Where a body is divided: nowhere, in the head of its frame, anywhere, and before an empty frame at its end. */
const divisions: fc.Arbitrary<readonly number[]> = fc.oneof(
  { weight: 4, arbitrary: fc.constant([]) },
  fc.array(fc.nat(5), { minLength: 1, maxLength: 3 }),
  fc.array(fc.nat(), { minLength: 1, maxLength: 4 }),
);

function wireOf(call: AnyCall, changes: readonly Change[], cuts: readonly number[], emptyEnd: boolean): WireRequest {
  const allowed = changes.filter(({ makesOther = false }) => !(makesOther && call.fragile));
  const path = `/${call.method.parent.typeName}/${call.method.name}`;
  const change = allowed.find((one) => one.body !== undefined)?.body ?? frame;
  const bytes = change(call.message);
  const parts = [...divide(bytes, cuts), ...(emptyEnd ? [new Uint8Array()] : [])];
  const kinds = [...new Set(allowed.map(({ kind }) => kind))].sort();
  return {
    kind: kinds.length === 0 ? 'sound' : kinds.length === 1 ? String(kinds[0]) : 'several at once',
    request: {
      path: allowed.reduce((text, one) => one.path?.(text) ?? text, path),
      headers: Object.assign(
        { ':authority': 'localhost', 'content-type': 'application/grpc', te: 'trailers' },
        ...allowed.map((one) => one.headers ?? {}),
      ),
      body: parts.length === 1 ? bytes : parts,
      ...Object.assign({}, ...allowed.map((one) => one.more ?? {})),
    },
  };
}

export function anyWire(calls: fc.Arbitrary<AnyCall>, limits: WireLimits): fc.Arbitrary<WireRequest> {
  const change = fc.oneof(
    { weight: 3, arbitrary: frames(limits) },
    { weight: 2, arbitrary: messages },
    { weight: 3, arbitrary: headers },
    { weight: 1, arbitrary: paths },
    { weight: 1, arbitrary: endings },
  );
  const changes = fc.oneof(
    { weight: 8, arbitrary: fc.constant([]) },
    { weight: 10, arbitrary: fc.tuple(change) },
    { weight: 1, arbitrary: fc.tuple(endless) },
    { weight: 5, arbitrary: fc.array(change, { minLength: 2, maxLength: 3 }) },
  );
  return fc.tuple(calls, changes, divisions, fc.boolean()).map((parts) => wireOf(...parts));
}
