/** The clients that other teams may use, behind one interface: a method and a JSON request in, JSON or an error out. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  create,
  type DescFile,
  type DescMethod,
  fromBinary,
  fromJson,
  type JsonObject,
  type JsonValue,
  type Message,
  toBinary,
  toJson,
} from '@bufbuild/protobuf';
import { base64Decode } from '@bufbuild/protobuf/wire';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { type ErrorInfo, ErrorInfoSchema } from '../../gen/google/rpc/error_details_pb.js';
import { file_google_rpc_status } from '../../gen/google/rpc/status_pb.js';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { createMessagingClient, MessagingError, status } from '../../src/client/messaging-client.ts';

export type Outcome =
  | { readonly ok: true; readonly response: JsonValue }
  | {
      readonly ok: false;
      /** Name of the gRPC status, e.g. NOT_FOUND. */
      readonly code: string;
      readonly message: string;
      readonly reason: string;
      readonly metadata: Readonly<Record<string, string>>;
    };

export interface Peer {
  readonly name: string;
  /** What this machine lacks to run it; undefined when nothing. */
  missing(): Promise<string | undefined>;
  /** `address` is host:port. */
  call(address: string, method: DescMethod, request: JsonValue): Promise<Outcome>;
}

interface Finished {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Longest run of a command; a test that meets it fails with the output so far. */
const COMMAND_TIMEOUT_MS = 40_000;

/** Exit code -1: it could not be started or was cut off. */
function run(command: string, arguments_: readonly string[], input = ''): Promise<Finished> {
  const { promise, resolve } = Promise.withResolvers<Finished>();
  const child = execFile(command, arguments_, { timeout: COMMAND_TIMEOUT_MS }, (error, stdout, stderr) => {
    const exitCode = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
    resolve({ exitCode, stdout, stderr: exitCode === -1 ? `${String(error)}\n${stderr}` : stderr });
  });
  child.stdin?.on('error', () => {}).end(input);
  return promise;
}

function success(method: DescMethod, response: Message): Outcome {
  return { ok: true, response: toJson(method.output, response) };
}

function failure(code: string, message: string, info: Pick<ErrorInfo, 'reason' | 'metadata'> | undefined): Outcome {
  return { ok: false, code, message, reason: info?.reason ?? '', metadata: info?.metadata ?? {} };
}

const constantCase = (name: string): string => name.replace(/([a-z])([A-Z])/g, '$1_$2').toUpperCase();

export const ownClient: Peer = {
  name: 'the client package',
  missing: async () => undefined,
  async call(address, method, request) {
    using client = createMessagingClient(address, { deadlineMs: 20_000 });
    const stubs = { [MessageService.typeName]: client.messages, [ConversationService.typeName]: client.conversations };
    const stub = stubs[method.parent.typeName] as unknown as Record<string, (request: Message) => Promise<Message>>;
    try {
      const response = await stub[method.localName]?.(fromJson(method.input, request));
      if (response === undefined) throw new Error(`the client package has no ${method.name}`);
      return success(method, response);
    } catch (error) {
      if (!(error instanceof MessagingError)) throw error;
      return failure(status[error.code], error.message.replace(/^[A-Z_]+: /, ''), error);
    }
  },
};

export const connectClient: Peer = {
  name: "connect-node's gRPC client",
  missing: async () => undefined,
  async call(address, method, request) {
    const transport = createGrpcTransport({ baseUrl: `http://${address}`, defaultTimeoutMs: 20_000 });
    const client = createClient(method.parent, transport) as unknown as Record<string, (request: Message) => Promise<Message>>;
    try {
      const response = await client[method.localName]?.(fromJson(method.input, request));
      if (response === undefined) throw new Error(`connect has no ${method.name}`);
      return success(method, response);
    } catch (error) {
      if (!(error instanceof ConnectError)) throw error;
      return failure(constantCase(Code[error.code]), error.rawMessage, error.findDetails(ErrorInfoSchema)[0]);
    }
  },
};

interface BufError {
  readonly code: string;
  readonly message?: string;
  readonly details?: readonly { readonly type: string; readonly value: string }[];
}

export const bufCurl: Peer = {
  name: 'buf curl by reflection',
  async missing() {
    const { exitCode } = await run('node_modules/.bin/buf', ['--version']);
    return exitCode === 0 ? undefined : 'node_modules/.bin/buf (npm package @bufbuild/buf)';
  },
  async call(address, method, request) {
    const url = `http://${address}/${method.parent.typeName}/${method.name}`;
    const options = ['--protocol', 'grpc', '--http2-prior-knowledge', '--timeout', '20s'];
    const { exitCode, stdout, stderr } = await run('node_modules/.bin/buf', ['curl', ...options, '-d', JSON.stringify(request), url]);
    if (exitCode === 0) return success(method, fromJson(method.output, JSON.parse(stdout)));
    const start = stderr.indexOf('{');
    if (start === -1) throw new Error(`buf curl ended with ${exitCode}: ${stderr}`);
    const error: BufError = JSON.parse(stderr.slice(start));
    const info = error.details?.find(({ type }) => type === ErrorInfoSchema.typeName);
    return failure(
      error.code.toUpperCase(),
      error.message ?? '',
      info === undefined ? undefined : fromBinary(ErrorInfoSchema, base64Decode(info.value)),
    );
  },
};

function withImports(file: DescFile, seen: Set<DescFile> = new Set()): ReadonlySet<DescFile> {
  for (const dependency of file.dependencies) withImports(dependency, seen);
  return seen.add(file);
}

type PythonOutcome =
  | { readonly response: JsonObject }
  | { readonly code: string; readonly message: string; readonly details: readonly JsonObject[] };

/** Debian's packages belong to its own Python, which need not be the first in PATH. */
const pythons = ['/usr/bin/python3', 'python3'];

async function findPython(): Promise<string | undefined> {
  for (const python of pythons) {
    const { exitCode } = await run(python, ['-c', 'import grpc, google.protobuf']);
    if (exitCode === 0) return python;
  }
  return undefined;
}

export const pythonClient: Peer = {
  name: "Python's grpcio",
  async missing() {
    return (await findPython()) === undefined ? 'a Python with grpcio and protobuf (Debian: python3-grpcio, python3-protobuf)' : undefined;
  },
  async call(address, method, request) {
    const python = await findPython();
    if (python === undefined) throw new Error('ask missing() first');
    const files = new Set([method.parent.file, file_google_rpc_status, ErrorInfoSchema.file].flatMap((file) => [...withImports(file)]));
    const folder = await mkdtemp(join(tmpdir(), 'python-client-'));
    try {
      const path = join(folder, 'descriptors.binpb');
      const set = create(FileDescriptorSetSchema, { file: [...files].map(({ proto }) => proto) });
      await writeFile(path, toBinary(FileDescriptorSetSchema, set));
      const script = join(import.meta.dirname, 'python_client.py');
      const { exitCode, stdout, stderr } = await run(
        python,
        [script, path, address, method.parent.typeName, method.name],
        JSON.stringify(request),
      );
      if (exitCode !== 0) throw new Error(`python ended with ${exitCode}: ${stderr}`);
      const outcome: PythonOutcome = JSON.parse(stdout);
      if ('response' in outcome) return success(method, fromJson(method.output, outcome.response));
      const info = outcome.details.find((detail) => detail['@type'] === `type.googleapis.com/${ErrorInfoSchema.typeName}`);
      const { '@type': _, ...fields } = info ?? {};
      return failure(outcome.code, outcome.message, info === undefined ? undefined : fromJson(ErrorInfoSchema, fields));
    } finally {
      await rm(folder, { recursive: true });
    }
  },
};

export const peers: readonly Peer[] = [ownClient, connectClient, bufCurl, pythonClient];
