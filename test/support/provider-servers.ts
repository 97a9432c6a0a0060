/** Servers that answer as a test needs it, in place of a provider or of whoever holds an attachment. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createHttpServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, connect, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Worker } from 'node:worker_threads';

const KEEP_ALIVE_MS = 60_000;

export interface Seen {
  readonly method: string;
  readonly url: URL;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

export interface LocalServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** Sockets that were accepted, TLS or not. */
  readonly connections: readonly Socket[];
}

export interface HttpServer extends LocalServer {
  readonly seen: readonly Seen[];
}

export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** For localhost and 127.0.0.1, signed by itself; undefined: this machine has no openssl. */
export function makeCertificate(): Certificate | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'messaging-provider-tls-'));
  try {
    const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', keyFile];
    execFileSync('openssl', ['req', '-x509', ...key, '-out', certFile, '-days', '2', ...subject], { stdio: 'ignore' });
    return { cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') };
  } catch {
    return undefined;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function listen(server: Server, scheme: string): Promise<LocalServer> {
  const connections: Socket[] = [];
  server.on('connection', (socket: Socket) => {
    connections.push(socket);
    socket.on('error', () => undefined);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `${scheme}://127.0.0.1:${port}`,
    port,
    connections,
    async [Symbol.asyncDispose]() {
      for (const socket of connections) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** `answer` is called when the whole request is there. With a certificate it speaks TLS. */
export async function startHttp(answer: (seen: Seen, response: ServerResponse) => void, tls?: Certificate): Promise<HttpServer> {
  const seen: Seen[] = [];
  const handle: RequestListener = async (request, response) => {
    // A caller that goes away in the middle is part of some tests.
    const body = await text(request).catch(() => undefined);
    if (body === undefined) return;
    const { method = '', headers, url = '/' } = request;
    const one = { method, headers, body, url: new URL(url, 'http://provider') };
    seen.push(one);
    answer(one, response);
  };
  const server = tls === undefined ? createHttpServer(handle) : createHttpsServer(tls, handle);
  server.on('tlsClientError', () => undefined);
  // It leaves connections open for longer than a test lasts.
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  return { ...(await listen(server, tls === undefined ? 'http' : 'https')), seen };
}

export async function startTcp(onConnection: (socket: Socket) => void, scheme = 'http'): Promise<LocalServer> {
  return await listen(createTcpServer(onConnection), scheme);
}

/** A port that nobody listens at. */
export async function closedPort(): Promise<number> {
  const server = await startTcp((socket) => socket.destroy());
  await server[Symbol.asyncDispose]();
  return server.port;
}

/** Listens and never accepts: its queue is full, so that nobody gets a connection. */
export async function startDeaf(): Promise<{ readonly url: string } & AsyncDisposable> {
  const listener = `
    const { parentPort } = require('node:worker_threads');
    const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      parentPort.postMessage(server.address().port);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    });`;
  const worker = new Worker(listener, { eval: true });
  const [port] = (await once(worker, 'message')) as [number];
  const fillers = Array.from({ length: 8 }, () => connect(port, '127.0.0.1').on('error', () => undefined));
  // One that gets in tells that the queue is being filled; the others are behind it, or in front of it.
  await Promise.race(fillers.map((socket) => once(socket, 'connect')));
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of fillers) socket.destroy();
      await worker.terminate();
    },
  };
}

export function answerJson(response: ServerResponse, status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}
