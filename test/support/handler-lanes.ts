/** One method whose handler each test writes, on two servers: one with the lean lane and one without. */
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import type { HandlerContext } from '@connectrpc/connect';
import { expect } from 'vitest';
import {
  type GetMessageRequest,
  GetMessageRequestSchema,
  type GetMessageResponseSchema,
  MessageService,
  type WatchMessagesRequest,
  WatchMessagesRequestSchema,
  type WatchMessagesResponseSchema,
} from '../../gen/messaging/v1/message_service_pb.js';
import { reflectionRoutes } from '../../src/rpc/reflection.ts';
import type { ServerOptions } from '../../src/rpc/server.ts';
import { type Lane, seenOf, startLane } from './lane-server.ts';
import { frame, type RawRequest, type RawResponse } from './raw-calls.ts';
import { until } from './until.ts';

export type Answer = MessageInitShape<typeof GetMessageResponseSchema>;
export type Handler = (request: GetMessageRequest, context: HandlerContext) => Answer | Promise<Answer>;

export type Item = MessageInitShape<typeof WatchMessagesResponseSchema>;
export type StreamHandler = (request: WatchMessagesRequest, context: HandlerContext) => AsyncIterable<Item>;

export interface HandlerLanes extends AsyncDisposable {
  /** With the lean lane, and without it. */
  readonly lanes: readonly [Lane, Lane];
  /** What both servers do from now on. */
  serve(handler: Handler): void;
  /** Sends both one request, a valid one but for `more`. Returns their answer; throws when they give different ones. */
  ask(handler: Handler, more?: Partial<RawRequest>): Promise<RawResponse>;
  /** As `serve` and `ask`, for streams. */
  serveStream(handler: StreamHandler): void;
  askStream(handler: StreamHandler, more?: Partial<RawRequest>): Promise<RawResponse>;
  /** A handler that waits, on both servers, until it is released. */
  hold(): Held;
  /** Throws unless calls are answered as if nothing had happened, and no bug was logged. */
  expectServing(): Promise<void>;
  /** Resolves when all calls have ended. */
  idle(): Promise<void>;
  /** How many calls ended with which code, as `NOT_FOUND`. Throws when the servers do not agree. */
  counted(): Promise<Readonly<Record<string, number>>>;
}

export interface Held {
  /** Resolves when so many calls wait, on both servers together. */
  awaited(calls: number): Promise<void>;
  release(): void;
}

/** A fact that comes soon is looked for often. */
const often = { timeout: 20_000, interval: 10 };

export const ID = '01900000-0000-7000-8000-000000000001';
export const PATH = '/messaging.v1.MessageService/GetMessage';

/** A valid request, but for `more`. */
export function requestWith({ headers, ...more }: Partial<RawRequest> = {}): RawRequest {
  const body = frame(toBinary(GetMessageRequestSchema, create(GetMessageRequestSchema, { id: ID })));
  return { path: PATH, body, ...more, headers: { 'content-type': 'application/grpc', ...headers } };
}

/** The same, of a stream. */
export function streamRequestWith({ headers, ...more }: Partial<RawRequest> = {}): RawRequest {
  const body = frame(toBinary(WatchMessagesRequestSchema, create(WatchMessagesRequestSchema)));
  const path = '/messaging.v1.MessageService/WatchMessages';
  return { path, body, ...more, headers: { 'content-type': 'application/grpc', ...headers } };
}

export async function startHandlerLanes(options: Partial<ServerOptions> = {}): Promise<HandlerLanes> {
  let current: Handler = () => ({});
  let currentStream: StreamHandler = async function* () {};
  const start = (leanLane: boolean) => {
    const routes: Parameters<typeof startLane>[1] = [
      (router) => router.rpc(MessageService.method.getMessage, (request, context) => current(request, context)),
      (router) => router.rpc(MessageService.method.watchMessages, (request, context) => currentStream(request, context)),
      // For clients that ask what there is to call.
      reflectionRoutes([MessageService.file]),
    ];
    return startLane(leanLane, routes, options);
  };
  const lanes = [await start(true), await start(false)] as const;
  const serve = (handler: Handler): void => {
    current = handler;
  };
  const idle = (): Promise<void> =>
    until('every call has ended', async () => (await lanes[0].running()) + (await lanes[1].running()) === 0);
  const serveStream = (handler: StreamHandler): void => {
    currentStream = handler;
  };
  const askBoth = async (request: RawRequest): Promise<RawResponse> => {
    const [lean, connect] = await Promise.all([lanes[0].raw.call(request), lanes[1].raw.call(request)]);
    expect(seenOf(lean)).toEqual(seenOf(connect));
    return lean;
  };
  return {
    lanes,
    serve,
    ask: (handler, more) => {
      serve(handler);
      return askBoth(requestWith(more));
    },
    serveStream,
    askStream: (handler, more) => {
      serveStream(handler);
      return askBoth(streamRequestWith(more));
    },
    hold() {
      const released = Promise.withResolvers<Answer>();
      let waiting = 0;
      serve(() => {
        waiting += 1;
        return released.promise;
      });
      return { awaited: (calls) => expect.poll(() => waiting, often).toBe(calls), release: () => released.resolve({}) };
    },
    async expectServing() {
      serve(() => ({}));
      expect(await askBoth(requestWith())).toMatchObject({ trailers: { 'grpc-status': '0' } });
      for (const lane of lanes) expect(lane.logLines().filter(({ level }) => level === 'error')).toEqual([]);
    },
    idle,
    async counted() {
      await idle();
      const [lean, connect] = [await lanes[0].handled(), await lanes[1].handled()];
      expect(lean).toEqual(connect);
      return lean;
    },
    async [Symbol.asyncDispose]() {
      await idle();
      for (const lane of lanes) await lane[Symbol.asyncDispose]();
    },
  };
}
