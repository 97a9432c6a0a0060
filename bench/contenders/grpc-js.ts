/** The stock server of @grpc/grpc-js with the codec of protobuf-es. `node grpc-js.ts SOURCE` */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type handleUnaryCall, Server, ServerCredentials, status } from '@grpc/grpc-js';
import {
  type GetMessageRequest,
  GetMessageRequestSchema,
  type GetMessageResponse,
  GetMessageResponseSchema,
} from '../../gen/messaging/v1/message_service_pb.js';
import { announce } from './serve.ts';
import { openSource } from './sources.ts';

const find = await openSource(process.argv[2]);
const getMessage: handleUnaryCall<GetMessageRequest, GetMessageResponse> = (call, callback) => {
  find(call.request.id).then(
    (message) => callback(null, create(GetMessageResponseSchema, { message })),
    (error: unknown) => callback({ code: status.INTERNAL, details: String(error) }),
  );
};
const server = new Server();
server.addService(
  {
    getMessage: {
      path: '/messaging.v1.MessageService/GetMessage',
      requestStream: false,
      responseStream: false,
      requestSerialize: (request: GetMessageRequest) => Buffer.from(toBinary(GetMessageRequestSchema, request)),
      requestDeserialize: (bytes: Buffer) => fromBinary(GetMessageRequestSchema, bytes),
      responseSerialize: (response: GetMessageResponse) => Buffer.from(toBinary(GetMessageResponseSchema, response)),
      responseDeserialize: (bytes: Buffer) => fromBinary(GetMessageResponseSchema, bytes),
    },
  },
  { getMessage },
);
const port = await new Promise<number>((resolve, reject) => {
  server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)));
});
announce(port);
