/** A second opinion on requests per second, by a load generator that is not ours. It sends one body only, and so asks for one row. */
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { create, toBinary } from '@bufbuild/protobuf';
import { GetMessageRequestSchema } from '../gen/messaging/v1/message_service_pb.js';
import { findProgram, installPackages } from '../src/dev/debian.ts';
import type { Listening } from './check-answers.ts';
import { messageId } from './rows.ts';

const REQUESTS = 40_000;

/** undefined: there is no h2load here. */
export async function askH2load({ port }: Listening): Promise<number | undefined> {
  if (findProgram('h2load') === undefined) installPackages(['nghttp2-client']);
  if (findProgram('h2load') === undefined) return undefined;
  const request = toBinary(GetMessageRequestSchema, create(GetMessageRequestSchema, { id: messageId(0) }));
  const body = Buffer.concat([Buffer.of(0, 0, 0, 0, request.length), request]);
  mkdirSync('.cache', { recursive: true });
  writeFileSync('.cache/bench-request', body);
  const headers = ['content-type: application/grpc', 'te: trailers', 'grpc-timeout: 5S'].flatMap((header) => ['-H', header]);
  const url = `http://127.0.0.1:${port}/messaging.v1.MessageService/GetMessage`;
  const load = ['-n', String(REQUESTS), '-c', '10', '-m', '10', '-d', '.cache/bench-request'];
  const { stdout } = await promisify(execFile)('h2load', [...load, ...headers, url]);
  return Number(/finished in .*?, ([\d.]+) req\/s/.exec(stdout)?.[1]);
}
