/** Attacks on the port of probes, metrics and webhooks. */
import { connect, type Socket } from 'node:net';
import { ATTACKER_ADDRESS, count, type Seen, type Target } from './attack-connection.ts';
import type { Attack } from './attacks.ts';

const REST_MS = 50;
const WEBHOOK = '/webhooks/sendgrid/events';

/** Keeps so many connections at work; each lives until the server ends it. */
async function posters(
  connections: number,
  { httpPort }: Target,
  seen: Seen,
  signal: AbortSignal,
  work: (socket: Socket, write: (text: string) => Promise<void>) => Promise<void>,
): Promise<void> {
  const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
  const one = async (): Promise<void> => {
    while (!signal.aborted) {
      const socket = connect({ port: httpPort, host: '127.0.0.1', localAddress: ATTACKER_ADDRESS });
      socket.on('error', () => undefined);
      const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
      socket.on('data', (chunk: Buffer) => {
        for (const [, status = ''] of chunk.toString('latin1').matchAll(/HTTP\/1\.1 (\d+)/g)) count(seen.answers, status);
      });
      seen.connected += 1;
      const write = (text: string): Promise<void> =>
        new Promise((resolve) => (socket.writable ? socket.write(text, () => resolve()) : resolve()));
      await Promise.race([closed, stopped, work(socket, write).then(() => closed)]);
      if (!signal.aborted) seen.closed += 1;
      socket.destroy();
      await new Promise((resolve) => setTimeout(resolve, REST_MS));
    }
  };
  await Promise.all(Array.from({ length: connections }, one));
}

const head = (bytes: number): string =>
  `POST ${WEBHOOK} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${bytes}\r\n\r\n`;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function drip(socket: Socket, signal: AbortSignal, write: (text: string) => Promise<void>, text: string): Promise<void> {
  while (!socket.destroyed && !signal.aborted) {
    await write(text);
    await pause(200);
  }
}

export const http1Attacks: readonly Attack[] = [
  {
    name: 'HTTP/1.1: headers byte by byte',
    run: (target, seen, signal) =>
      posters(400, target, seen, signal, async (socket, write) => {
        await write(`POST ${WEBHOOK} HTTP/1.1\r\nx-slow: `);
        await drip(socket, signal, write, 'x');
      }),
  },
  {
    name: 'HTTP/1.1: bodies byte by byte',
    run: (target, seen, signal) =>
      posters(400, target, seen, signal, async (socket, write) => {
        await write(head(100_000));
        await drip(socket, signal, write, 'x');
      }),
  },
  {
    name: 'HTTP/1.1: connections without a request',
    run: (target, seen, signal) => posters(400, target, seen, signal, async () => undefined),
  },
  {
    name: 'HTTP/1.1: headers of 1 MB',
    run: (target, seen, signal) =>
      posters(20, target, seen, signal, (_, write) => write(`GET / HTTP/1.1\r\nx-large: ${'x'.repeat(1_000_000)}\r\n\r\n`)),
  },
  {
    name: 'HTTP/1.1: pipelining',
    run: (target, seen, signal) =>
      posters(10, target, seen, signal, async (socket, write) => {
        const requests = 'GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(1_000);
        while (!socket.destroyed && !signal.aborted) await write(requests);
      }),
  },
  {
    name: 'HTTP/1.1: pipelining, answers not read',
    run: (target, seen, signal) =>
      posters(10, target, seen, signal, async (socket, write) => {
        socket.pause();
        const requests = 'GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(1_000);
        while (!socket.destroyed && !signal.aborted) await write(requests);
      }),
  },
  {
    name: 'HTTP/1.1: webhooks, forged and many',
    run: (target, seen, signal) =>
      posters(100, target, seen, signal, async (socket, write) => {
        const body = '[]'.padEnd(10_000);
        while (!socket.destroyed && !signal.aborted) {
          await write(head(body.length) + body);
          await pause(20);
        }
      }),
  },
];
