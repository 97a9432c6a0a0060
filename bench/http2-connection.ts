/**
 * A gRPC client reduced to what a load generator needs: it writes prepared frames and counts answers by their frame headers, so that one
 * core can drive servers far beyond what a real client could. h2load is no substitute: it sends one body only, and takes errors for answers.
 */
import { connect, type Socket } from 'node:net';

export interface ExpectedAnswer {
  /** Bytes that a right answer holds in one frame, such as the id that was asked for. */
  readonly marker: Buffer | undefined;
  readonly leastBytes: number;
}

/** One call, prepared: everything but the number of its stream. */
export interface PreparedCall {
  /** HEADERS by table index, then DATA. */
  readonly frames: Buffer;
  readonly expected: ExpectedAnswer;
}

export interface RunningCall {
  /** When it was to begin, in ms of performance.now(); what its latency is counted from. */
  readonly dueMs: number;
  readonly expected: ExpectedAnswer;
  answerBytes: number;
  hasMarker: boolean;
}

export interface ConnectionEvents {
  onAnswer(call: RunningCall, connection: Http2Connection): void;
  /** A call that failed, or the whole connection. */
  onFailure(reason: string): void;
  /** Everything that one read from the socket brought has been told. */
  onBatch(): void;
}

export interface Http2Connection {
  /** Takes part in the next flush. */
  send(call: PreparedCall, dueMs: number): void;
  flush(): void;
  close(): void;
}

const FRAME = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goAway: 7, windowUpdate: 8 } as const;
const FLAG = { endStream: 1, ack: 1, endHeaders: 4 } as const;
const HEADER_BYTES = 9;
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
const INITIAL_WINDOW_SIZE = 4;
const LARGEST_WINDOW = 0x7fff_ffff;
/** What a peer grants a connection before it says more. */
const DEFAULT_WINDOW = 65_535;
/** The window of the connection is refilled once this much of it is used. */
const REFILL_BYTES = 64 * 1_024 * 1_024;
const GRPC_PREFIX_BYTES = 5;

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUIntBE(payload.length, 0, 3);
  header.writeUInt8(type, 3);
  header.writeUInt8(flags, 4);
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

const STATIC_TABLE = { methodPost: 0x83, schemeHttp: 0x86, authority: 1, path: 4, contentType: 31, userAgent: 58 } as const;
const FIRST_DYNAMIC_INDEX = 62;

/** HPACK, shorter than 128 bytes and without Huffman coding. */
function hpackText(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  if (bytes.length >= 0x7f) throw new Error(`too long for this encoder: ${text}`);
  return Buffer.concat([Buffer.of(bytes.length), bytes]);
}

/** "Literal header field with incremental indexing": the peer remembers it. */
function indexedLiteral(name: number | string, value: string): Buffer {
  const head = typeof name === 'number' ? Buffer.of(0x40 | name) : Buffer.concat([Buffer.of(0x40), hpackText(name)]);
  return Buffer.concat([head, hpackText(value)]);
}

/** What a gRPC client sends: in full with the first call of a connection, by index ever after. */
const REMEMBERED_HEADERS = 6;
function fullHeaders(path: string, authority: string): Buffer {
  return Buffer.concat([
    Buffer.of(STATIC_TABLE.methodPost, STATIC_TABLE.schemeHttp),
    indexedLiteral(STATIC_TABLE.path, path),
    indexedLiteral(STATIC_TABLE.authority, authority),
    indexedLiteral('te', 'trailers'),
    indexedLiteral(STATIC_TABLE.contentType, 'application/grpc'),
    indexedLiteral(STATIC_TABLE.userAgent, 'grpc-load/1.0'),
    indexedLiteral('grpc-timeout', '5S'),
  ]);
}
const indices = Array.from({ length: REMEMBERED_HEADERS }, (_, index) => 0x80 | (FIRST_DYNAMIC_INDEX + REMEMBERED_HEADERS - 1 - index));
const SHORT_HEADERS = frame(FRAME.headers, FLAG.endHeaders, 0, Buffer.of(STATIC_TABLE.methodPost, STATIC_TABLE.schemeHttp, ...indices));
const HEADERS_STREAM_OFFSET = 5;
const DATA_STREAM_OFFSET = SHORT_HEADERS.length + 5;

export function prepareCall(request: Uint8Array, expected: ExpectedAnswer): PreparedCall {
  const prefix = Buffer.alloc(GRPC_PREFIX_BYTES);
  prefix.writeUInt32BE(request.length, 1);
  const data = frame(FRAME.data, FLAG.endStream, 0, Buffer.concat([prefix, request]));
  return { frames: Buffer.concat([SHORT_HEADERS, data]), expected };
}

async function connected(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  socket.removeAllListeners('error');
  return socket;
}

export async function openHttp2Connection(port: number, path: string, events: ConnectionEvents): Promise<Http2Connection> {
  const socket = await connected(port);
  const running = new Map<number, RunningCall>();
  let waiting: { readonly stream: number; readonly frames: Buffer }[] = [];
  let nextStream = 1;
  let rest: Buffer | undefined;
  let closing = false;
  let sendWindow = DEFAULT_WINDOW;
  let unacknowledgedBytes = 0;

  const control: Record<number, (flags: number, payload: Buffer, stream: number) => void> = {
    [FRAME.settings]: (flags) => {
      if ((flags & FLAG.ack) === 0) socket.write(frame(FRAME.settings, FLAG.ack, 0, Buffer.alloc(0)));
    },
    [FRAME.ping]: (flags, payload) => {
      if ((flags & FLAG.ack) === 0) socket.write(frame(FRAME.ping, FLAG.ack, 0, Buffer.from(payload)));
    },
    [FRAME.windowUpdate]: (_, payload, stream) => {
      if (stream === 0) sendWindow += payload.readUInt32BE();
    },
    [FRAME.reset]: (_, payload, stream) => {
      running.delete(stream);
      events.onFailure(`the server reset a stream with code ${payload.readUInt32BE()}`);
    },
    [FRAME.goAway]: (_, payload) => {
      if (!closing) events.onFailure(`the server sent GOAWAY with code ${payload.readUInt32BE(4)}`);
    },
  };

  const refill = (bytes: number): void => {
    unacknowledgedBytes += bytes;
    if (unacknowledgedBytes < REFILL_BYTES) return;
    socket.write(frame(FRAME.windowUpdate, 0, 0, uint32(unacknowledgedBytes)));
    unacknowledgedBytes = 0;
  };

  const take = (type: number, flags: number, stream: number, bytes: Buffer, from: number, to: number): void => {
    if (type > FRAME.headers) {
      control[type]?.(flags, bytes.subarray(from, to), stream);
      return;
    }
    const call = running.get(stream);
    if (type === FRAME.data) {
      refill(to - from);
      if (call === undefined) return;
      call.answerBytes += to - from;
      const { marker } = call.expected;
      if (!call.hasMarker && marker !== undefined) {
        // The bytes are near the beginning, so a right answer is known at once.
        const at = bytes.indexOf(marker, from);
        call.hasMarker = at !== -1 && at < to;
      }
    }
    if ((flags & FLAG.endStream) === 0 || call === undefined) return;
    running.delete(stream);
    // Trailers without any data are how gRPC tells an error.
    if (call.answerBytes <= GRPC_PREFIX_BYTES) events.onFailure('an answer without a message: an error status');
    else if (call.answerBytes < call.expected.leastBytes) events.onFailure('an answer that is too short');
    else if (call.expected.marker !== undefined && !call.hasMarker) events.onFailure('an answer to another question');
    else events.onAnswer(call, connection);
  };

  socket.on('data', (chunk: Buffer) => {
    const bytes = rest === undefined ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    while (bytes.length - at >= HEADER_BYTES) {
      const lengthAndType = bytes.readUInt32BE(at);
      const from = at + HEADER_BYTES;
      const to = from + (lengthAndType >>> 8);
      if (to > bytes.length) break;
      take(lengthAndType & 0xff, bytes.readUInt8(at + 4), bytes.readUInt32BE(at + 5) & LARGEST_WINDOW, bytes, from, to);
      at = to;
    }
    rest = at === bytes.length ? undefined : bytes.subarray(at);
    events.onBatch();
  });
  socket.on('error', (error) => events.onFailure(`the connection failed: ${error.message}`));
  socket.on('close', () => {
    if (!closing) events.onFailure('the server closed the connection');
  });

  /** The first call brings the headers that all later ones refer to. */
  const withFullHeaders = (frames: Buffer): Buffer =>
    Buffer.concat([
      frame(FRAME.headers, FLAG.endHeaders, 1, fullHeaders(path, `127.0.0.1:${port}`)),
      frames.subarray(SHORT_HEADERS.length),
    ]);

  const flush = (): void => {
    if (waiting.length === 0) return;
    const [first] = waiting;
    const calls = waiting;
    waiting = [];
    if (first?.stream === 1) {
      const frames = withFullHeaders(first.frames);
      frames.writeUInt32BE(1, frames.length - (first.frames.length - DATA_STREAM_OFFSET));
      socket.write(frames);
      calls.shift();
    }
    const out = Buffer.allocUnsafe(calls.reduce((sum, { frames }) => sum + frames.length, 0));
    let at = 0;
    for (const { stream, frames } of calls) {
      out.set(frames, at);
      out.writeUInt32BE(stream, at + HEADERS_STREAM_OFFSET);
      out.writeUInt32BE(stream, at + DATA_STREAM_OFFSET);
      at += frames.length;
    }
    if (at > 0) socket.write(out);
  };

  const connection: Http2Connection = {
    send({ frames, expected }, dueMs) {
      sendWindow -= frames.length - DATA_STREAM_OFFSET - 4;
      if (sendWindow < 0) events.onFailure('more than the server takes at once; send less on each connection');
      running.set(nextStream, { dueMs, expected, answerBytes: 0, hasMarker: false });
      waiting.push({ stream: nextStream, frames });
      nextStream += 2;
    },
    flush,
    close() {
      closing = true;
      socket.destroy();
    },
  };
  const settings = Buffer.alloc(6);
  settings.writeUInt16BE(INITIAL_WINDOW_SIZE);
  settings.writeUInt32BE(LARGEST_WINDOW, 2);
  socket.write(
    Buffer.concat([
      PREFACE,
      frame(FRAME.settings, 0, 0, settings),
      frame(FRAME.windowUpdate, 0, 0, uint32(LARGEST_WINDOW - DEFAULT_WINDOW)),
    ]),
  );
  return connection;
}
