/** A gRPC server of grpc-js itself, which the client package has to understand; each test says what it answers. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type handleServerStreamingCall, type handleUnaryCall, Server, ServerCredentials } from '@grpc/grpc-js';
import { InvalidateCacheRequestSchema } from '../../gen/messaging/v1/cache_service_pb.js';
import { ArchiveConversationRequestSchema, UpdateConversationRequestSchema } from '../../gen/messaging/v1/conversation_service_pb.js';
import {
  BatchSendMessagesRequestSchema,
  GetMessageRequestSchema,
  GetMessageResponseSchema,
  SendMessageRequestSchema,
  WatchMessagesRequestSchema,
  WatchMessagesResponseSchema,
} from '../../gen/messaging/v1/message_service_pb.js';
import { MessagingError } from '../../src/client/messaging-client.ts';

export type Unary = handleUnaryCall<unknown, Uint8Array>;
type Stream = handleServerStreamingCall<unknown, Uint8Array>;

interface Handlers {
  getMessage: Unary;
  sendMessage: Unary;
  batchSendMessages: Unary;
  updateConversation: Unary;
  archiveConversation: Unary;
  invalidateCache: Unary;
  watchMessages: Stream;
}

export interface GrpcJsServer {
  readonly address: string;
  readonly port: number;
  readonly handlers: Handlers;
  /** Cuts what runs. */
  stop(): void;
}

export const never: Unary = () => {};
export const message = (id: string) => toBinary(GetMessageResponseSchema, create(GetMessageResponseSchema, { message: { id } }));
export const change = (resumeToken: string) => toBinary(WatchMessagesResponseSchema, create(WatchMessagesResponseSchema, { resumeToken }));

function method(path: string, schema: Parameters<typeof fromBinary>[0], responseStream = false) {
  const bytes = (value: Uint8Array) => Buffer.from(value);
  return {
    path: `/messaging.v1.${path}`,
    requestStream: false,
    responseStream,
    requestDeserialize: (body: Buffer) => fromBinary(schema, body),
    requestSerialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: (body: Buffer) => body,
  };
}

/** `port` 0 picks a free one. */
export async function startGrpcJsServer(port = 0): Promise<GrpcJsServer> {
  const handlers: Handlers = {
    getMessage: never,
    sendMessage: never,
    batchSendMessages: never,
    updateConversation: never,
    archiveConversation: never,
    invalidateCache: never,
    watchMessages: () => {},
  };
  const server = new Server();
  server.addService(
    {
      getMessage: method('MessageService/GetMessage', GetMessageRequestSchema),
      sendMessage: method('MessageService/SendMessage', SendMessageRequestSchema),
      batchSendMessages: method('MessageService/BatchSendMessages', BatchSendMessagesRequestSchema),
      updateConversation: method('ConversationService/UpdateConversation', UpdateConversationRequestSchema),
      archiveConversation: method('ConversationService/ArchiveConversation', ArchiveConversationRequestSchema),
      invalidateCache: method('CacheService/InvalidateCache', InvalidateCacheRequestSchema),
      watchMessages: method('MessageService/WatchMessages', WatchMessagesRequestSchema, true),
    },
    {
      getMessage: (...call: Parameters<Unary>) => handlers.getMessage(...call),
      sendMessage: (...call: Parameters<Unary>) => handlers.sendMessage(...call),
      batchSendMessages: (...call: Parameters<Unary>) => handlers.batchSendMessages(...call),
      updateConversation: (...call: Parameters<Unary>) => handlers.updateConversation(...call),
      archiveConversation: (...call: Parameters<Unary>) => handlers.archiveConversation(...call),
      invalidateCache: (...call: Parameters<Unary>) => handlers.invalidateCache(...call),
      watchMessages: (...call: Parameters<Stream>) => handlers.watchMessages(...call),
    },
  );
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)));
  const bound = await promise;
  return { address: `127.0.0.1:${bound}`, port: bound, handlers, stop: () => server.forceShutdown() };
}

export async function errorOf(call: Promise<unknown>): Promise<MessagingError> {
  const error = await call.then(
    () => new Error('the call succeeded'),
    (reason: unknown) => reason,
  );
  if (error instanceof MessagingError) return error;
  throw error;
}
