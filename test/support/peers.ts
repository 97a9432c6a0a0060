/** The clients that other teams may use, behind one interface: a method and a JSON request in, JSON or an error out. */
import { spawn } from 'node:child_process';
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
import { Code, type CallOptions as ConnectCallOptions, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { type ErrorInfo, ErrorInfoSchema } from '../../gen/google/rpc/error_details_pb.js';
import { file_google_rpc_status } from '../../gen/google/rpc/status_pb.js';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { type CallOptions, createMessagingClient, MessagingError, status } from '../../src/client/messaging-client.ts';

export type Outcome =
  | {
      readonly ok: true;
      readonly response: JsonValue;
      /** Headers of the answer, as far as the client shows them; bytes in base64. */
      readonly headers: Readonly<Record<string, string>>;
    }
  | {
      readonly ok: false;
      /** Name of the gRPC status, e.g. NOT_FOUND. */
      readonly code: string;
      readonly message: string;
      readonly reason: string;
      readonly metadata: Readonly<Record<string, string>>;
    };

export interface PeerOptions {
  /** Of the request; bytes, under names that end in -bin, in base64. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  /** Cancels the call, or ends the process that makes it; what comes of it then is left open. */
  readonly signal?: AbortSignal;
}

export interface Peer {
  readonly name: string;
  /** What this machine lacks to run it; undefined when nothing. */
  missing(): Promise<string | undefined>;
  /** `address` is host:port. */
  call(address: string, method: DescMethod, request: JsonValue, options?: PeerOptions): Promise<Outcome>;
}

const TIMEOUT_MS = 20_000;

interface Finished {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Longest run of a command; a test that meets it fails with the output so far. */
const COMMAND_TIMEOUT_MS = 40_000;

/** Exit code -1: it could not be started or was cut off. */
function run(command: string, arguments_: readonly string[], input = '', signal?: AbortSignal): Promise<Finished> {
  const { promise, resolve } = Promise.withResolvers<Finished>();
  // A group of its own, which ends together: what is called may only be a wrapper.
  const child = spawn(command, arguments_, { detached: true });
  const end = (): void => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid);
  };
  const timer = setTimeout(end, COMMAND_TIMEOUT_MS);
  signal?.addEventListener('abort', end, { once: true });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  child.stdin.on('error', () => {}).end(input);
  child.on('error', (error) => (stderr += String(error)));
  child.on('close', (exitCode) => {
    clearTimeout(timer);
    resolve({ exitCode: exitCode ?? -1, stdout, stderr });
  });
  return promise;
}

function success(method: DescMethod, response: Message, headers: Readonly<Record<string, string>>): Outcome {
  return { ok: true, response: toJson(method.output, response), headers };
}

function failure(code: string, message: string, info: Pick<ErrorInfo, 'reason' | 'metadata'> | undefined): Outcome {
  return { ok: false, code, message, reason: info?.reason ?? '', metadata: info?.metadata ?? {} };
}

const constantCase = (name: string): string => name.replace(/([a-z])([A-Z])/g, '$1_$2').toUpperCase();

export const ownClient: Peer = {
  name: 'the client package',
  missing: async () => undefined,
  async call(address, method, request, { headers = {}, timeoutMs = TIMEOUT_MS, signal } = {}) {
    using client = createMessagingClient(address, { deadlineMs: timeoutMs });
    const stubs = { [MessageService.typeName]: client.messages, [ConversationService.typeName]: client.conversations };
    const stub = stubs[method.parent.typeName] as unknown as Record<string, (request: Message, options: CallOptions) => Promise<Message>>;
    let received: Readonly<Record<string, string>> = {};
    const onHeaders: CallOptions['onHeaders'] = (fields) => (received = fields);
    // It takes no bytes.
    const metadata = Object.fromEntries(Object.entries(headers).filter(([name]) => !name.endsWith('-bin')));
    try {
      const response = await stub[method.localName]?.(fromJson(method.input, request), { metadata, onHeaders, ...(signal && { signal }) });
      if (response === undefined) throw new Error(`the client package has no ${method.name}`);
      return success(method, response, received);
    } catch (error) {
      if (!(error instanceof MessagingError)) throw error;
      return failure(status[error.code], error.message.replace(/^[A-Z_]+: /, ''), error);
    }
  },
};

export const connectClient: Peer = {
  name: "connect-node's gRPC client",
  missing: async () => undefined,
  async call(address, method, request, { timeoutMs = TIMEOUT_MS, ...options } = {}) {
    const transport = createGrpcTransport({ baseUrl: `http://${address}` });
    const client = createClient(method.parent, transport) as unknown as Record<
      string,
      (request: Message, options: ConnectCallOptions) => Promise<Message>
    >;
    const received = new Headers();
    const receive = (fields: Headers) => fields.forEach((value, name) => void received.append(name, value));
    try {
      const wanted = { timeoutMs, onHeader: receive, onTrailer: receive, ...options };
      const response = await client[method.localName]?.(fromJson(method.input, request), wanted);
      if (response === undefined) throw new Error(`connect has no ${method.name}`);
      return success(method, response, Object.fromEntries(received));
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
  async call(address, method, request, { headers = {}, timeoutMs = TIMEOUT_MS, signal } = {}) {
    const url = `http://${address}/${method.parent.typeName}/${method.name}`;
    const options = ['--protocol', 'grpc', '--http2-prior-knowledge', '--timeout', `${timeoutMs / 1_000}s`, '--verbose'];
    const fields = Object.entries(headers).flatMap(([name, value]) => ['--header', `${name}: ${value}`]);
    const arguments_ = ['curl', ...options, ...fields, '--data', '@-', url];
    const { exitCode, stdout, stderr } = await run('node_modules/.bin/buf', arguments_, JSON.stringify(request), signal);
    // Reflection is a call of its own, with headers of its own, and comes before.
    const received = Object.fromEntries(
      [...stderr.matchAll(/^buf: < \(#\d+\) ([a-z-]+): (.*)$/gim)].map(([, name = '', value]) => [name.toLowerCase(), value?.trim() ?? '']),
    );
    if (exitCode === 0) return success(method, fromJson(method.output, JSON.parse(stdout)), received);
    // Everything else it tells begins with its name.
    const told = stderr.replaceAll(/^buf: .*\n/gm, '');
    const start = told.indexOf('{');
    if (start === -1) throw new Error(`buf curl ended with ${exitCode}: ${stderr}`);
    const error: BufError = JSON.parse(told.slice(start));
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
  | { readonly response: JsonObject; readonly headers: Readonly<Record<string, string>> }
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
  async call(address, method, request, { headers = {}, timeoutMs = TIMEOUT_MS, signal } = {}) {
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
        [script, path, address, method.parent.typeName, method.name, String(timeoutMs / 1_000), JSON.stringify(headers)],
        JSON.stringify(request),
        signal,
      );
      if (exitCode !== 0) throw new Error(`python ended with ${exitCode}: ${stderr}`);
      const outcome: PythonOutcome = JSON.parse(stdout);
      if ('response' in outcome) return success(method, fromJson(method.output, outcome.response), outcome.headers);
      const info = outcome.details.find((detail) => detail['@type'] === `type.googleapis.com/${ErrorInfoSchema.typeName}`);
      const { '@type': _, ...fields } = info ?? {};
      return failure(outcome.code, outcome.message, info === undefined ? undefined : fromJson(ErrorInfoSchema, fields));
    } finally {
      await rm(folder, { recursive: true });
    }
  },
};

export const peers: readonly Peer[] = [ownClient, connectClient, bufCurl, pythonClient];
