/** Attacks made of whole calls, by a client that keeps the protocol. */
import { type ClientHttp2Session, type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from 'node:http2';
import { connect as connectTcp } from 'node:net';
import { gzipSync } from 'node:zlib';
import { create, type DescMethod, type DescService, toBinary } from '@bufbuild/protobuf';
import { CacheService } from '../../gen/messaging/v1/cache_service_pb.js';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import { ListMessagesRequestSchema, MessageService, WatchMessagesRequestSchema } from '../../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { SuppressionService } from '../../gen/messaging/v1/suppression_service_pb.js';
import { seededRandom } from '../support/seeded-random.ts';
import { ATTACKER_ADDRESS, count, type Seen, type Target } from './attack-connection.ts';
import { LONG_ADDRESS } from './attack-stack.ts';
import type { Attack } from './attacks.ts';

const REST_MS = 50;

function framed(message: Uint8Array, flags = 0): Buffer {
  const frame = Buffer.alloc(5 + message.byteLength);
  frame.writeUInt8(flags, 0);
  frame.writeUInt32BE(message.byteLength, 1);
  frame.set(message, 5);
  return frame;
}

const pathOf = ({ parent, name }: DescMethod): string => `/${parent.typeName}/${name}`;

interface Caller {
  readonly session: ClientHttp2Session;
  /** Resolves when its answer, or the stream, is over. Answers are read unless `deaf`. */
  call(path: string, body: Uint8Array, headers?: OutgoingHttpHeaders, deaf?: boolean): Promise<void>;
}

function callerOf(session: ClientHttp2Session, seen: Seen): Caller {
  return {
    session,
    call(path, body, headers = {}, deaf = false) {
      const { promise, resolve } = Promise.withResolvers<void>();
      if (session.destroyed || session.closed) return Promise.resolve();
      const stream: ClientHttp2Stream = session.request({
        ':method': 'POST',
        ':path': path,
        'content-type': 'application/grpc',
        ...headers,
      });
      const tell = (status: unknown) => status !== undefined && count(seen.answers, `grpc-status ${String(status)}`);
      stream.on('response', (fields) => tell(fields['grpc-status']));
      stream.on('trailers', (fields) => tell(fields['grpc-status']));
      stream.on('error', () => undefined);
      stream.on('close', () => {
        if (stream.rstCode !== 0) count(seen.resets, String(stream.rstCode));
        resolve();
      });
      if (!deaf) stream.resume();
      stream.end(body);
      return promise;
    },
  };
}

/** Keeps so many connections at work. */
async function callers(
  connections: number,
  { grpcPort }: Target,
  seen: Seen,
  signal: AbortSignal,
  settings: { readonly initialWindowSize?: number },
  work: (caller: Caller) => Promise<unknown>,
): Promise<void> {
  const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
  const one = async (): Promise<void> => {
    while (!signal.aborted) {
      const session = connect(`http://127.0.0.1:${grpcPort}`, {
        settings,
        createConnection: () => connectTcp({ port: grpcPort, host: '127.0.0.1', localAddress: ATTACKER_ADDRESS }),
      });
      const closed = new Promise<void>((resolve) => session.once('close', resolve));
      session.on('error', () => undefined).on('goaway', (code) => count(seen.goAways, String(code)));
      seen.connected += 1;
      const caller = callerOf(session, seen);
      const working = (async () => {
        while (!session.destroyed && !session.closed && !signal.aborted) await work(caller);
      })();
      await Promise.race([closed, stopped, working]);
      if (!signal.aborted) seen.closed += 1;
      session.destroy();
      await new Promise((resolve) => setTimeout(resolve, REST_MS));
    }
  };
  await Promise.all(Array.from({ length: connections }, one));
}

const bomb = (): Buffer => framed(gzipSync(Buffer.alloc(1_000_000_000)), 1);
const GZIP = { 'grpc-encoding': 'gzip' };
const atOnce = (calls: number, make: () => Promise<void>): Promise<unknown> => Promise.all(Array.from({ length: calls }, make));

const list = framed(
  toBinary(ListMessagesRequestSchema, create(ListMessagesRequestSchema, { pageSize: 200, filter: { address: LONG_ADDRESS } })),
);
const watch = framed(toBinary(WatchMessagesRequestSchema, create(WatchMessagesRequestSchema, {})));
const LONG = { 'grpc-timeout': '1H' };

const services: readonly DescService[] = [MessageService, ConversationService, ProviderEventService, SuppressionService, CacheService];
const methods = services.flatMap((service) => service.methods);
const random = seededRandom(1);

function randomBytes(): Buffer {
  return Buffer.from(Array.from({ length: Math.floor(random() * 60) }, () => Math.floor(random() * 256)));
}

export const callAttacks: readonly Attack[] = [
  {
    name: 'gzip bombs of 1 GB',
    run: (target, seen, signal) => {
      const body = bomb();
      return callers(5, target, seen, signal, {}, ({ call }) =>
        atOnce(2, () => call(pathOf(MessageService.method.sendMessage), body, GZIP)),
      );
    },
  },
  {
    name: 'random protobuf on every method',
    run: (target, seen, signal) =>
      callers(2, target, seen, signal, {}, ({ call }) =>
        Promise.all(methods.map((method) => call(pathOf(method), framed(randomBytes()), { 'grpc-timeout': '500m' }))),
      ),
  },
  {
    name: 'long lists that nobody reads',
    run: (target, seen, signal) =>
      callers(5, target, seen, signal, { initialWindowSize: 0 }, ({ call }) =>
        atOnce(20, () => call(pathOf(MessageService.method.listMessages), list, LONG, true)),
      ),
  },
  {
    name: 'watches that nobody reads',
    harmless: 'one item is held for each, for 60 s at most',
    run: (target, seen, signal) =>
      callers(5, target, seen, signal, { initialWindowSize: 0 }, ({ call }) =>
        atOnce(1_000, () => call(pathOf(MessageService.method.watchMessages), watch, {}, true)),
      ),
  },
];
