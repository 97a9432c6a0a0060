/** Streams of answers: byte by byte the same on both lanes, held back by callers who do not read, and over when they leave. */
import { constants } from 'node:http2';
import { ConnectError, type HandlerContext } from '@connectrpc/connect';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DomainError } from '../../src/domain/errors.ts';
import { type HandlerLanes, ID, type Item, startHandlerLanes, streamRequestWith } from '../support/handler-lanes.ts';
import { failureIn, frame, type RawRequest } from '../support/raw-calls.ts';

const MAX_RESPONSE_BYTES = 200_000;
const often = { timeout: 20_000, interval: 10 };

let on: HandlerLanes;
beforeAll(async () => {
  on = await startHandlerLanes({ maxResponseBytes: MAX_RESPONSE_BYTES });
});
afterAll(async () => {
  // Not only callers, operators too see the same.
  await on.counted();
  await on[Symbol.asyncDispose]();
});

const itemOf = (resumeToken: string, body = ''): Item => ({
  resumeToken,
  payload: { case: 'change', value: { message: { id: ID, body } } },
});
/** These, then whatever `end` does. */
const items = (count: number, end: (context: HandlerContext) => Promise<void> = async () => undefined) =>
  async function* (_: unknown, context: HandlerContext): AsyncGenerator<Item> {
    for (let index = 0; index < count; index += 1) {
      await new Promise(setImmediate);
      yield itemOf(String(index));
    }
    await end(context);
  };
const failing = (error: unknown) => async () => {
  throw error;
};

describe('a stream of answers', () => {
  it.each([0, 1, 5])('with %i items', async (count) => {
    const { body } = await on.askStream(items(count));
    expect(body.toString('latin1').split(ID)).toHaveLength(count + 1);
  });

  it.each([
    ['before the first item', 0],
    ['after some', 3],
  ])('fails %s', async (_, count) => {
    const answer = await on.askStream(items(count, failing(new DomainError('resume_token_expired', 'too old'))));
    expect(failureIn(answer)).toMatchObject({ code: 'OutOfRange', reason: 'RESUME_TOKEN_EXPIRED' });
  });

  it('is refused when it is one too many, and told when to try again', async () => {
    const refusal = new DomainError('too_many_streams', 'too many', { metadata: { limit: '2' } });
    const refused = { code: 'ResourceExhausted', reason: 'TOO_MANY_STREAMS', metadata: { limit: '2' }, retryAfterMs: 1_000 };
    expect(failureIn(await on.askStream(items(0, failing(refusal))))).toMatchObject(refused);
  });

  it('fails by a bug without telling of it', async () => {
    const answer = await on.askStream(items(1, failing(new Error('inside'))));
    expect(failureIn(answer)).toMatchObject({ code: 'Internal', message: 'internal error' });
    const bugs = on.lanes.map((lane) => lane.logLines().filter(({ msg }) => msg === 'call failed by a bug').length);
    expect(bugs).toEqual([1, 1]);
  });

  it('ends with an item that is too large', async () => {
    const ended: boolean[] = [];
    const answer = await on.askStream(async function* () {
      try {
        yield itemOf('small');
        yield itemOf('large', 'x'.repeat(MAX_RESPONSE_BYTES));
      } finally {
        ended.push(true);
      }
    });
    expect(failureIn(answer)).toMatchObject({ code: 'ResourceExhausted', reason: 'MESSAGE_TOO_LARGE' });
    expect(answer.body.includes('small')).toBe(true);
    await expect.poll(() => ended, often).toEqual([true, true]);
  });

  it.each([
    ['that breaks a rule', { body: frame(Buffer.from([0x22, 0x00])) }],
    ['that cannot be decoded', { body: frame(Buffer.from([0xff])) }],
    ['that is not there', { body: [] }],
    ['that comes twice', { body: [frame(Buffer.alloc(0)), frame(Buffer.alloc(0))] }],
  ] satisfies [string, Partial<RawRequest>][])('refuses a request %s', async (_, request) => {
    expect(failureIn(await on.askStream(items(1), request)).code).toMatch(/InvalidArgument|Unimplemented/);
  });

  it('compresses what is worth it for callers who ask for it', async () => {
    const { headers } = await on.askStream(
      async function* () {
        yield itemOf('short');
        yield itemOf('long', 'y'.repeat(20_000));
      },
      { headers: { 'grpc-accept-encoding': 'identity,gzip' } },
    );
    expect(headers['grpc-encoding']).toBe('gzip');
  });

  it('carries the headers and trailers that its handler asks for', async () => {
    const answer = await on.askStream(async function* (_, { responseHeader, responseTrailer }) {
      responseHeader.set('x-header', 'a');
      responseTrailer.set('x-trailer', 'b');
      yield itemOf('0');
    });
    expect(answer).toMatchObject({ headers: { 'x-header': 'a' }, trailers: { 'x-trailer': 'b' } });
  });

  it('is told when its deadline has passed', async () => {
    on.serveStream(items(1, ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))));
    // In words of its own when Connect's clock is the faster one.
    for (const { raw } of on.lanes) {
      const answer = await raw.call(streamRequestWith({ headers: { 'grpc-timeout': '100m' } }));
      expect(failureIn(answer)).toMatchObject({ code: 'DeadlineExceeded', reason: 'DEADLINE_EXCEEDED' });
      expect(answer.body.includes(ID)).toBe(true);
    }
  });
});

describe('a caller', () => {
  it('who leaves ends the handler that waits', async () => {
    const reasons: unknown[] = [];
    on.serveStream(
      items(1, async ({ signal }) => {
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        reasons.push(signal.reason);
        throw signal.reason;
      }),
    );
    const calls = on.lanes.map(({ raw }) => raw.open(streamRequestWith()));
    for (const call of calls) await call.answering;
    for (const call of calls) call.cancel();
    await expect.poll(() => reasons.map((reason) => ConnectError.from(reason).code), often).toEqual([1, 1]);
  });

  it('who does not read is asked nothing more of, and gets all of it later', async () => {
    const COUNT = 300;
    let made = 0;
    on.serveStream(async function* () {
      for (let index = 0; index < COUNT; index += 1) {
        made += 1;
        yield itemOf(String(index), 'z'.repeat(50_000));
      }
    });
    const calls = on.lanes.map(({ raw }) => raw.open(streamRequestWith({ unread: true })));
    let before = -1;
    // Until both have stopped.
    await expect
      .poll(
        () => {
          const isSame = made === before && made > 0;
          before = made;
          return isSame;
        },
        { timeout: 20_000, interval: 200 },
      )
      .toBe(true);
    expect(made).toBeLessThan(COUNT);
    for (const call of calls) call.read();
    const [lean, connect] = await Promise.all(calls.map((call) => call.ended));
    expect(lean?.body.equals(connect?.body ?? Buffer.alloc(0))).toBe(true);
    expect(lean?.trailers).toMatchObject({ 'grpc-status': '0' });
    expect(made).toBe(2 * COUNT);
  });

  it('who still waits is told when the server stops', async () => {
    await using stopping = await startHandlerLanes({ maxResponseBytes: MAX_RESPONSE_BYTES });
    stopping.serveStream(items(1, () => new Promise(() => undefined)));
    const calls = stopping.lanes.map(({ raw }) => raw.open(streamRequestWith()));
    for (const call of calls) await call.answering;
    const closed = stopping.lanes.map((lane) => lane.close(100));
    for (const call of calls) {
      const answer = await call.ended;
      expect(failureIn(answer)).toMatchObject({ code: 'Unavailable', reason: 'DRAINING' });
      expect(answer.rstCode).toBe(constants.NGHTTP2_NO_ERROR);
    }
    await Promise.all(closed);
  });
});
