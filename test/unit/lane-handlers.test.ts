/** Handlers find the same call on both lanes, and what they send beside their answer reaches callers in the same way. */
import { create } from '@bufbuild/protobuf';
import { Code, ConnectError, type HandlerContext } from '@connectrpc/connect';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GetMessageRequest, GetMessageRequestSchema } from '../../gen/messaging/v1/message_service_pb.js';
import { DomainError } from '../../src/domain/errors.ts';
import { tellSource } from '../../src/rpc/call.ts';
import { type Answer, type HandlerLanes, ID, PATH, requestWith, startHandlerLanes } from '../support/handler-lanes.ts';
import { failureIn, type RawRequest } from '../support/raw-calls.ts';

let on: HandlerLanes;
beforeAll(async () => {
  on = await startHandlerLanes();
});
afterAll(async () => {
  // Not only callers, operators too see the same.
  await on.counted();
  await on[Symbol.asyncDispose]();
});

/** What the handlers of both lanes made of their calls. Each finds the port of its own server in what it is given. */
async function learned<Fact>(learn: (context: HandlerContext) => Fact, request: Partial<RawRequest> = {}): Promise<readonly Fact[]> {
  const facts: Fact[] = [];
  await on.ask((_, context) => {
    facts.push(learn(context));
    return {};
  }, request);
  return facts;
}

const base64 = (bytes: readonly number[]) => Buffer.from(bytes).toString('base64').replaceAll('=', '');
const byPort = (url: string) => url.replace(/:\d+/, ':PORT');

describe('of its call a handler learns', () => {
  it('the headers, binary ones and repeated ones too', async () => {
    const headers = {
      'x-text': 'some text',
      'x-many': ['one', 'two'],
      'x-bytes-bin': base64([0, 1, 254, 255]),
      cookie: ['a=1', 'b=2'],
      'user-agent': 'a test',
      'grpc-accept-encoding': 'gzip, identity',
      te: 'trailers',
    };
    const [lean, connect] = await learned(({ requestHeader }) => Object.fromEntries(requestHeader), { headers });
    expect(lean).toEqual(connect);
    expect(lean).toMatchObject({ 'x-text': 'some text', 'x-many': 'one, two', 'x-bytes-bin': 'AAH+/w', cookie: 'a=1; b=2' });
  });

  it.each([
    ['', {}],
    ['?a=b&c=%20', {}],
    ['', { ':authority': 'EXAMPLE.com:80' }],
    ['', { ':authority': '[::1]:5' }],
    ['', { ':scheme': 'https' }],
  ])('the URL, with the query "%s" and %o', async (query, headers) => {
    const [lean, connect] = await learned(({ url }) => byPort(url), { path: PATH + query, headers });
    expect(lean).toBe(connect);
    expect(lean).toContain(PATH);
  });

  it('the method, the service, the protocol and the values of the call', async () => {
    const facts = await learned(({ method, service, requestMethod, protocolName, values }) => {
      return { method: method.name, service: service.typeName, requestMethod, protocolName, hasValues: values !== undefined };
    });
    const fact = {
      method: 'GetMessage',
      service: 'messaging.v1.MessageService',
      requestMethod: 'POST',
      protocolName: 'grpc',
      hasValues: true,
    };
    expect(facts).toEqual([fact, fact]);
  });

  it('how much time is left', async () => {
    expect(await learned(({ timeoutMs }) => timeoutMs())).toEqual([undefined, undefined]);
    for (const left of await learned(({ timeoutMs }) => timeoutMs(), { headers: { 'grpc-timeout': '20S' } })) {
      expect(left).toBeGreaterThan(10_000);
      expect(left).toBeLessThanOrEqual(20_000);
    }
  });

  it('the request, as it was sent', async () => {
    const requests: GetMessageRequest[] = [];
    await on.ask((request) => {
      requests.push(request);
      return {};
    });
    expect(requests).toEqual([create(GetMessageRequestSchema, { id: ID }), create(GetMessageRequestSchema, { id: ID })]);
  });
});

describe('before and after its answer a handler may send', () => {
  const withMetadata = ({ responseHeader, responseTrailer }: HandlerContext): Answer => {
    responseHeader.set('x-header', 'a');
    responseHeader.append('x-header', 'b');
    responseHeader.set('x-header-bin', base64([0, 255]));
    responseTrailer.set('x-trailer', 'c');
    responseTrailer.append('x-trailer', 'd');
    responseTrailer.set('x-trailer-bin', base64([255, 0]));
    return { message: { id: ID } };
  };
  const header = { 'x-header': 'a, b', 'x-header-bin': 'AP8' };
  const trailer = { 'x-trailer': 'c, d', 'x-trailer-bin': '/wA' };

  it('headers and trailers', async () => {
    const answer = await on.ask((_, context) => withMetadata(context));
    expect(answer).toMatchObject({ headers: header, trailers: { 'grpc-status': '0', ...trailer } });
  });

  it('the same with an error', async () => {
    const answer = await on.ask((_, context) => {
      withMetadata(context);
      throw new DomainError('storage_unavailable', 'away');
    });
    expect(answer).toMatchObject({ headers: header, trailers: { 'grpc-status': '14', ...trailer } });
  });

  it('several cookies', async () => {
    const answer = await on.ask((_, { responseHeader, responseTrailer }) => {
      for (const headers of [responseHeader, responseTrailer]) for (const cookie of ['a=1', 'b=2']) headers.append('set-cookie', cookie);
      return {};
    });
    expect(answer).toMatchObject({ headers: { 'set-cookie': ['a=1', 'b=2'] }, trailers: { 'set-cookie': ['a=1', 'b=2'] } });
  });

  it('where its answer comes from, but only with one', async () => {
    const tell = (context: HandlerContext): Answer => {
      tellSource(context, { source: 'hit', ageMs: 3.5 });
      return {};
    };
    expect((await on.ask((_, context) => tell(context))).headers).toMatchObject({ 'x-cache': 'hit', 'x-cache-age-ms': '4' });
    const failed = await on.ask((_, context) => {
      tell(context);
      throw new DomainError('cache_off', 'off');
    });
    expect(failed.headers).not.toHaveProperty('x-cache');
  });
});

describe('the signal of a handler', () => {
  it('is not aborted while the call runs, and is when it is over', async () => {
    const signals: AbortSignal[] = [];
    await on.ask(async (_, { signal }) => {
      await new Promise(setImmediate);
      expect(signal.aborted).toBe(false);
      signals.push(signal);
      return {};
    });
    await expect.poll(() => signals.map(({ aborted }) => aborted)).toEqual([true, true]);
  });

  const aborted = (signal: AbortSignal) => new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));

  it('tells that the deadline has passed', async () => {
    const reasons: unknown[] = [];
    const answer = await on.ask(
      async (_, { signal }) => {
        await aborted(signal);
        reasons.push(signal.reason);
        throw signal.reason;
      },
      { headers: { 'grpc-timeout': '50m' } },
    );
    expect(failureIn(answer)).toMatchObject({ code: 'DeadlineExceeded', reason: 'DEADLINE_EXCEEDED' });
    await expect.poll(() => reasons.length).toBe(2);
    // Connect has a clock of its own; when it is the slower one, its handlers find the call ended.
    for (const reason of reasons) expect([Code.DeadlineExceeded, Code.Canceled]).toContain(ConnectError.from(reason).code);
  });

  it('tells that the caller has left', async () => {
    const started = on.lanes.map(() => Promise.withResolvers<void>());
    const reasons: unknown[] = [];
    let calls = 0;
    on.serve(async (_, { signal }) => {
      started[calls++]?.resolve();
      await aborted(signal);
      reasons.push(signal.reason);
      throw signal.reason;
    });
    const opened = on.lanes.map(({ raw }) => raw.open(requestWith()));
    for (const { promise } of started) await promise;
    for (const call of opened) call.cancel();
    await expect.poll(() => reasons.map((reason) => ConnectError.from(reason).code)).toEqual([Code.Canceled, Code.Canceled]);
    // Neither is a bug.
    for (const lane of on.lanes) expect(lane.logLines().filter(({ msg }) => msg === 'call failed by a bug')).toEqual([]);
  });
});
