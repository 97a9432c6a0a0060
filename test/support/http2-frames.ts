/** An HTTP/2 connection frame by frame, for what no client does: Node's own ends a stream in order before it resets it. */
import { once } from 'node:events';
import { connect } from 'node:net';

export const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const HEAD_BYTES = 9;
export const TYPE = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;
export const FLAG = { endStream: 0x1, acknowledged: 0x1, endHeaders: 0x4, padded: 0x8 } as const;
const CONNECTION = 0;

type Fields = readonly (readonly [string, string])[];

export interface FrameStream {
  send(type: number, flags: number, payload: Uint8Array): void;
  data(bytes: Uint8Array, options?: { readonly end: boolean }): void;
  reset(code: number): void;
}

export interface FrameConnection extends AsyncDisposable {
  /** `flags`: without endHeaders, the rest of the headers is to follow in a continuation. */
  open(fields: Fields, flags?: number): FrameStream;
  /** Resolves when the server has taken in all that was sent. */
  settled(): Promise<void>;
}

export function encodeFrame(type: number, flags: number, stream: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUIntBE(payload.byteLength, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** RFC 7541, 5.1, with a prefix of 7 bits, for numbers below 127 + 2^14. */
function encodeLength(length: number): Buffer {
  if (length < 127) return Buffer.of(length);
  const rest = length - 127;
  return rest < 128 ? Buffer.of(127, rest) : Buffer.of(127, 128 | (rest & 127), rest >> 7);
}

/** HPACK at its plainest: not packed, and not to be remembered. */
export function encodeFields(fields: Fields): Buffer {
  const parts = fields.flat().map((text) => Buffer.from(text, 'latin1'));
  return Buffer.concat(
    parts.flatMap((part, index) => [index % 2 === 0 ? Buffer.of(0) : Buffer.alloc(0), encodeLength(part.byteLength), part]),
  );
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export async function connectFrames(port: number): Promise<FrameConnection> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  const pings: (() => void)[] = [];
  let unread = Buffer.alloc(0);
  let streams = 0;
  const send = (type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): void => {
    socket.write(encodeFrame(type, flags, stream, payload));
  };
  socket.on('error', () => undefined);
  socket.on('data', (chunk: Buffer) => {
    unread = Buffer.concat([unread, chunk]);
    while (unread.byteLength >= HEAD_BYTES && unread.byteLength >= HEAD_BYTES + unread.readUIntBE(0, 3)) {
      const [type, flags] = [unread.readUInt8(3), unread.readUInt8(4)];
      unread = unread.subarray(HEAD_BYTES + unread.readUIntBE(0, 3));
      if (type === TYPE.settings && flags !== FLAG.acknowledged) send(TYPE.settings, FLAG.acknowledged, CONNECTION);
      if (type === TYPE.ping && flags === FLAG.acknowledged) pings.shift()?.();
    }
  });
  socket.write(PREFACE);
  send(TYPE.settings, 0, CONNECTION);
  return {
    open(fields, flags = FLAG.endHeaders) {
      const id = 2 * streams + 1;
      streams += 1;
      send(TYPE.headers, flags, id, encodeFields(fields));
      return {
        send: (type, frameFlags, payload) => send(type, frameFlags, id, payload),
        data: (bytes, { end } = { end: false }) => send(TYPE.data, end ? FLAG.endStream : 0, id, bytes),
        reset: (code) => send(TYPE.reset, 0, id, uint32(code)),
      };
    },
    async settled() {
      const { promise, resolve } = Promise.withResolvers<void>();
      pings.push(resolve);
      send(TYPE.ping, 0, CONNECTION, Buffer.alloc(8));
      await promise;
    },
    async [Symbol.asyncDispose]() {
      socket.destroy();
    },
  };
}
