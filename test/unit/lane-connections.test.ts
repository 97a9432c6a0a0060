/** Callers that break off, do not read or meet a server that stops: on both lanes their calls end, and are counted as what became of them. */
import { type ClientHttp2Session, constants } from 'node:http2';
import { setImmediate as breathe, setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { type Answer, type HandlerLanes, ID, requestWith, startHandlerLanes } from '../support/handler-lanes.ts';
import type { Lane } from '../support/lane-server.ts';
import { connectRaw, failureIn, type RawCall, type RawRequest } from '../support/raw-calls.ts';

const { NGHTTP2_NO_ERROR, NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR } = constants;

/** Larger than what a connection takes in before its reader reads. */
const LARGE: Answer = { message: { id: ID, body: 'x'.repeat(4_000_000) } };
const MAX_RESPONSE_BYTES = 8_000_000;

const often = { timeout: 10_000, interval: 10 };
const bytes = requestWith().body as Buffer;

/** Resolves when so many calls have reached each server. */
async function inFlight({ lanes }: HandlerLanes, calls: number): Promise<void> {
  for (const lane of lanes) await expect.poll(() => lane.running(), often).toBe(calls);
}

/** Connections of the test's own, one to each server. */
async function connectBoth(on: HandlerLanes, settings = {}) {
  const both = [await connectRaw(urlOf(on.lanes[0]), { settings }), await connectRaw(urlOf(on.lanes[1]), { settings })];
  return { both, open: (request: Partial<RawRequest>): RawCall[] => both.map((raw) => raw.open(requestWith(request))) };
}
const urlOf = ({ port }: Lane) => `http://127.0.0.1:${port}`;

/** Calls whose handlers have answered, of which nobody takes the answer. */
async function unreadAnswers(on: HandlerLanes, open: (request: Partial<RawRequest>) => RawCall[], answer = LARGE): Promise<RawCall[]> {
  let asked = 0;
  on.serve(() => {
    asked += 1;
    return answer;
  });
  const calls = open({ unread: true });
  await expect.poll(() => asked, often).toBe(2);
  return calls;
}

describe('a connection that breaks', () => {
  it.each([
    ['by its socket', (session: ClientHttp2Session) => session.socket.destroy()],
    ['by GOAWAY', (session: ClientHttp2Session) => session.destroy(undefined, NGHTTP2_INTERNAL_ERROR)],
  ])('%s ends its calls: one that arrives, one whose handler runs, one whose answer is on the way', async (_, breakOff) => {
    await using on = await startHandlerLanes({ maxResponseBytes: MAX_RESPONSE_BYTES });
    const { both, open } = await connectBoth(on);
    const answering = await unreadAnswers(on, open);
    const handler = on.hold();
    const running = open({});
    await handler.awaited(2);
    const arriving = open({ body: bytes.subarray(0, 12), endless: true });
    await inFlight(on, 3);
    for (const { session } of both) breakOff(session);
    for (const call of [...answering, ...running, ...arriving]) await call.ended;
    expect(await on.counted()).toEqual({ CANCELLED: 3 });
    handler.release();
    await on.expectServing();
  });

  it('by GOAWAY without an error lets its calls finish', async () => {
    await using on = await startHandlerLanes();
    const { both, open } = await connectBoth(on);
    const handler = on.hold();
    const calls = open({});
    await handler.awaited(2);
    for (const { session } of both) session.goaway(NGHTTP2_NO_ERROR);
    handler.release();
    for (const call of calls) expect(await call.ended).toMatchObject({ trailers: { 'grpc-status': '0' }, rstCode: 0 });
    expect(await on.counted()).toEqual({ OK: 1 });
    for (const raw of both) await raw[Symbol.asyncDispose]();
  });
});

describe('a caller that reads', () => {
  it('in small pieces gets everything', async () => {
    await using on = await startHandlerLanes({ maxResponseBytes: MAX_RESPONSE_BYTES });
    on.serve(() => ({ message: { id: ID, body: 'x'.repeat(200_000) } }));
    const { both, open } = await connectBoth(on, { initialWindowSize: 100 });
    const [lean, connect] = await Promise.all(open({}).map((call) => call.ended));
    expect(lean?.body.byteLength).toBeGreaterThan(200_000);
    expect(lean?.body.equals(connect?.body ?? Buffer.alloc(0))).toBe(true);
    expect(lean?.trailers).toEqual(connect?.trailers);
    expect(await on.counted()).toEqual({ OK: 1 });
    for (const raw of both) await raw[Symbol.asyncDispose]();
  });

  it('one answer slowly is given the others beside it', async () => {
    await using on = await startHandlerLanes({ maxResponseBytes: 16_000_000 });
    const { both, open } = await connectBoth(on);
    const slow = await unreadAnswers(on, open, { message: { id: ID, body: 'x'.repeat(15_000_000) } });
    on.serve(() => ({}));
    for (const call of open({})) expect(await call.ended).toMatchObject({ trailers: { 'grpc-status': '0' }, rstCode: 0 });
    for (const call of slow) call.read();
    for (const call of slow) expect((await call.ended).body.byteLength).toBeGreaterThan(15_000_000);
    expect(await on.counted()).toEqual({ OK: 2 });
    for (const raw of both) await raw[Symbol.asyncDispose]();
  });

  it('nothing is cut off at its deadline, and counted as late', async () => {
    await using on = await startHandlerLanes({ maxResponseBytes: MAX_RESPONSE_BYTES });
    on.serve(() => LARGE);
    const { both, open } = await connectBoth(on);
    const calls = open({ unread: true, headers: { 'grpc-timeout': '200m' } });
    for (const call of calls) expect(await call.ended).toMatchObject({ status: 200, rstCode: NGHTTP2_CANCEL });
    expect(await on.counted()).toEqual({ DEADLINE_EXCEEDED: 1 });
    for (const raw of both) await raw[Symbol.asyncDispose]();
  });

  // A busy machine may be too late for the last words.
  it('nothing until its deadline has passed is told that, after all of its answer', { retry: 2 }, async () => {
    await using on = await startHandlerLanes({ maxResponseBytes: MAX_RESPONSE_BYTES });
    on.serve(() => LARGE);
    const { both, open } = await connectBoth(on);
    const calls = open({ unread: true, headers: { 'grpc-timeout': '200m' } });
    await delay(300);
    for (const call of calls) call.read();
    const [lean, connect] = await Promise.all(calls.map((call) => call.ended));
    expect(lean?.body.byteLength).toBeGreaterThan(4_000_000);
    expect(lean?.body.equals(connect?.body ?? Buffer.alloc(0))).toBe(true);
    expect(lean).toMatchObject({ trailers: { 'grpc-status': '4' }, rstCode: 0 });
    expect(lean?.trailers).toEqual(connect?.trailers);
    expect(await on.counted()).toEqual({ DEADLINE_EXCEEDED: 1 });
    for (const raw of both) await raw[Symbol.asyncDispose]();
  });
});

describe('a server that stops', () => {
  it('lets running calls finish and refuses new ones on the same connection', async () => {
    await using on = await startHandlerLanes();
    const handler = on.hold();
    const calls = on.lanes.map(({ raw }) => raw.open(requestWith()));
    await handler.awaited(2);
    const closed = on.lanes.map((lane) => lane.close(10_000));
    await breathe();
    handler.release();
    for (const call of calls) expect(await call.ended).toMatchObject({ trailers: { 'grpc-status': '0' }, rstCode: 0 });
    await Promise.all(closed);
    expect(await on.counted()).toEqual({ OK: 1 });
  });

  it('cuts off what is still running, in the handler or on the way', async () => {
    await using on = await startHandlerLanes({ maxResponseBytes: MAX_RESPONSE_BYTES });
    const { open } = await connectBoth(on);
    const unread = await unreadAnswers(on, open);
    const handler = on.hold();
    const running = on.lanes.map(({ raw }) => raw.open(requestWith()));
    const arriving = on.lanes.map(({ raw }) => raw.open(requestWith({ body: bytes.subarray(0, 12), endless: true })));
    await handler.awaited(2);
    await Promise.all(on.lanes.map((lane) => lane.close(100)));
    for (const call of [...running, ...arriving])
      expect(failureIn(await call.ended)).toMatchObject({ code: 'Unavailable', reason: 'DRAINING' });
    for (const call of unread) await call.ended;
    expect(await on.counted()).toEqual({ UNAVAILABLE: 3 });
    handler.release();
  });
});
