/** The least that a gRPC server on Node can cost: reads the request to its end, writes bytes that were ready before. */
import { createServer } from 'node:http2';
import { create, toBinary } from '@bufbuild/protobuf';
import { GetMessageResponseSchema } from '../../gen/messaging/v1/message_service_pb.js';
import { messageId } from '../rows.ts';
import { listen } from './serve.ts';
import { environment, openPg } from './sources.ts';

const { find, close } = openPg(environment('DATABASE_URL'));
const message = toBinary(GetMessageResponseSchema, create(GetMessageResponseSchema, { message: await find(messageId(0)) }));
await close();
const answer = Buffer.alloc(5 + message.length);
answer.writeUInt32BE(message.length, 1);
answer.set(message, 5);

const server = createServer();
server.on('stream', (stream) => {
  stream.on('data', () => undefined);
  stream.on('end', () => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(answer);
  });
  stream.on('error', () => undefined);
});
await listen(server);
