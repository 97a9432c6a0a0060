/** The stock server of connect-node, as its documentation shows it. `node connect.ts SOURCE` */
import { createServer } from 'node:http2';
import type { ConnectRouter } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { listen } from './serve.ts';
import { openSource } from './sources.ts';

const find = await openSource(process.argv[2]);
const routes = (router: ConnectRouter) => router.service(MessageService, { getMessage: async ({ id }) => ({ message: await find(id) }) });
await listen(createServer(connectNodeAdapter({ routes })));
