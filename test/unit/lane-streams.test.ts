/** Streams that are reset, or come in frames that no client sends, do no harm on either lane, and are counted as what became of them. */
import { constants } from 'node:http2';
import { describe, expect, it } from 'vitest';
import { type Answer, type HandlerLanes, ID, PATH, requestWith, startHandlerLanes } from '../support/handler-lanes.ts';
import { connectFrames, encodeFields, FLAG, type FrameConnection, type FrameStream, TYPE } from '../support/http2-frames.ts';

const { NGHTTP2_NO_ERROR, NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR } = constants;
const resets = { NGHTTP2_NO_ERROR, NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR };

/** Larger than what a connection takes in before its reader reads. */
const LARGE: Answer = { message: { id: ID, body: 'x'.repeat(4_000_000) } };
const MAX_RESPONSE_BYTES = 8_000_000;

const bytes = requestWith().body as Buffer;
const TARGET = [
  [':method', 'POST'],
  [':path', PATH],
  [':scheme', 'http'],
  [':authority', 'localhost'],
] as const;
const HEADERS = [...TARGET, ['content-type', 'application/grpc']] as const;

/** On a connection of its own to each server, a stream that has sent so much and has not ended. */
async function openBoth(on: HandlerLanes, ...parts: readonly Uint8Array[]) {
  const opened = new AsyncDisposableStack();
  const streams: FrameStream[] = [];
  const settle: (() => Promise<void>)[] = [];
  for (const { port } of on.lanes) {
    const connection = opened.use(await connectFrames(port));
    const stream = connection.open(HEADERS);
    for (const part of parts) stream.data(part);
    streams.push(stream);
    settle.push(connection.settled);
  }
  return {
    streams,
    settled: async () => void (await Promise.all(settle.map((one) => one()))),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

describe.each(Object.entries(resets))('a stream that is reset with %s', (_, code) => {
  it.each([
    ['before its body', []],
    ['in the head of its frame', [bytes.subarray(0, 3)]],
    ['in its message', [bytes.subarray(0, 3), bytes.subarray(3, 12)]],
    ['after its message, before its end', [bytes]],
    ['after too much', [bytes, bytes]],
  ])('%s', async (_, parts) => {
    await using on = await startHandlerLanes();
    for (const patient of [true, false]) {
      await using both = await openBoth(on, ...parts);
      if (patient) await both.settled();
      for (const stream of both.streams) stream.reset(code);
      await both.settled();
      await on.idle();
    }
    await on.expectServing();
    // One that sent too much may have been refused before it left.
    if (parts.length < 2 || parts[0] !== bytes) expect(await on.counted()).toEqual({ CANCELLED: 2, OK: 1 });
  });

  it('while its handler runs', async () => {
    await using on = await startHandlerLanes();
    const handler = on.hold();
    await using both = await openBoth(on);
    for (const stream of both.streams) stream.data(bytes, { end: true });
    await handler.awaited(2);
    for (const stream of both.streams) stream.reset(code);
    expect(await on.counted()).toEqual({ CANCELLED: 1 });
    handler.release();
    await on.expectServing();
  });

  it('while its answer is on the way', async () => {
    await using on = await startHandlerLanes({ maxResponseBytes: MAX_RESPONSE_BYTES });
    on.serve(() => LARGE);
    await using both = await openBoth(on);
    for (const stream of both.streams) stream.data(bytes, { end: true });
    await both.settled();
    for (const stream of both.streams) stream.reset(code);
    expect(await on.counted()).toEqual({ CANCELLED: 1 });
    await on.expectServing();
  });

  it('at once, or right after its answer', async () => {
    await using on = await startHandlerLanes();
    for (const { port } of on.lanes) {
      await using connection = await connectFrames(port);
      for (let call = 0; call < 50; call += 1) {
        const stream = connection.open(HEADERS);
        stream.data(bytes, { end: true });
        if (call % 2 === 0) await connection.settled();
        stream.reset(code);
      }
      await connection.settled();
    }
    await on.idle();
    // Whether such a call was told how it ended is chance; that it has ended is not.
    await on.expectServing();
  });
});

describe('frames that no client sends, but a proxy may:', () => {
  const trailers = encodeFields([['x-trailer', 'x']]);
  const end = { end: true };
  it.each<[string, (connection: FrameConnection) => void, string]>([
    [
      'a body in padded frames',
      (to) => {
        const stream = to.open(HEADERS);
        stream.send(TYPE.data, FLAG.padded, Buffer.concat([Buffer.of(3), bytes.subarray(0, 7), Buffer.alloc(3)]));
        stream.send(TYPE.data, FLAG.padded | FLAG.endStream, Buffer.concat([Buffer.of(0), bytes.subarray(7)]));
      },
      'OK',
    ],
    [
      'empty frames before, within and after the body',
      (to) => {
        const stream = to.open(HEADERS);
        for (const part of [bytes.subarray(0, 0), bytes.subarray(0, 2), bytes.subarray(0, 0), bytes.subarray(2)]) stream.data(part);
        stream.data(bytes.subarray(0, 0), end);
      },
      'OK',
    ],
    [
      'a body whose end comes with trailers',
      (to) => {
        const stream = to.open(HEADERS);
        stream.data(bytes);
        stream.send(TYPE.headers, FLAG.endHeaders | FLAG.endStream, trailers);
      },
      'OK',
    ],
    [
      'frames of an unknown type',
      (to) => {
        const stream = to.open(HEADERS);
        stream.data(bytes.subarray(0, 9));
        stream.send(0xfa, 0xff, Buffer.from('unknown'));
        stream.data(bytes.subarray(9), end);
      },
      'OK',
    ],
    [
      'headers that are continued',
      (to) => {
        const stream = to.open(TARGET, 0);
        stream.send(TYPE.continuation, FLAG.endHeaders, encodeFields(HEADERS.slice(-1)));
        stream.data(bytes, end);
      },
      'OK',
    ],
    ['a content-type that is given twice', (to) => to.open([...HEADERS, ['content-type', 'text/plain']]).data(bytes, end), 'OK'],
    [
      'a content-type that is given twice, the wrong one first',
      (to) => to.open([...TARGET, ['content-type', 'text/plain'], ['content-type', 'application/grpc']]).data(bytes, end),
      'INVALID_ARGUMENT',
    ],
    [
      'a deadline that is given twice',
      (to) => to.open([...HEADERS, ['grpc-timeout', '5S'], ['grpc-timeout', '6S']]).data(bytes, end),
      'INVALID_ARGUMENT',
    ],
    [
      'an encoding that is given twice',
      (to) => to.open([...HEADERS, ['grpc-encoding', 'identity'], ['grpc-encoding', 'gzip']]).data(bytes, end),
      'UNIMPLEMENTED',
    ],
  ])('%s', async (_, talk, code) => {
    await using on = await startHandlerLanes();
    for (const { port } of on.lanes) {
      await using connection = await connectFrames(port);
      talk(connection);
      await connection.settled();
      await on.idle();
    }
    expect(await on.counted()).toEqual({ [code]: 1 });
  });
});
