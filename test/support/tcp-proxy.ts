/** Stands between a client and a server, and does to their connections what networks do. */
import { once } from 'node:events';
import { type AddressInfo, createServer, connect as netConnect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export type Weather =
  | { readonly kind: 'fine' }
  /** Every byte takes this much longer, both ways. */
  | { readonly kind: 'slow'; readonly delayMs: number }
  /** Nothing gets through; all of it arrives, late, when the weather changes. */
  | { readonly kind: 'stuck' }
  /** Nothing gets through, ever; connections that lost something are cut when the weather changes. */
  | { readonly kind: 'lossy' }
  /** All connections are cut and new ones closed at once. */
  | { readonly kind: 'down' };

export interface TcpProxy extends AsyncDisposable {
  readonly port: number;
  set(weather: Weather): void;
  /** Cuts every connection; new ones work. */
  cut(): void;
  /** Cuts the next connection on which the client sends `text`, when the server has answered and the answer is not delivered. */
  loseAnswerTo(text: string): Promise<void>;
}

const FINE: Weather = { kind: 'fine' };

interface Loss {
  readonly text: string;
  readonly done: () => void;
}

/** One direction of one connection. */
function stream(to: Socket, weather: () => Weather, changed: () => Promise<void>, lost: () => void): (chunk: Buffer) => void {
  const waiting: { readonly chunk: Buffer; readonly atMs: number }[] = [];
  let pumping = false;

  async function pump(): Promise<void> {
    pumping = true;
    for (let next = waiting[0]; next !== undefined && !to.destroyed; next = waiting[0]) {
      const now = weather();
      const leftMs = now.kind === 'slow' ? next.atMs + now.delayMs - performance.now() : 0;
      if (now.kind === 'stuck') await changed();
      else if (leftMs > 0) await delay(leftMs);
      else {
        waiting.shift();
        to.write(next.chunk);
      }
    }
    pumping = false;
  }

  return (chunk) => {
    const { kind } = weather();
    if (kind === 'lossy') {
      lost();
    } else if (kind === 'fine' && !pumping) {
      to.write(chunk);
    } else {
      waiting.push({ chunk, atMs: performance.now() });
      if (!pumping) void pump();
    }
  };
}

export async function startTcpProxy(target: { readonly host: string; readonly port: number }): Promise<TcpProxy> {
  const links = new Set<() => void>();
  let weather = FINE;
  let change = Promise.withResolvers<void>();
  let loss: Loss | undefined;
  const cut = (): void => {
    for (const end of links) end();
  };

  const server = createServer((client) => {
    if (weather.kind === 'down') {
      client.destroy();
      return;
    }
    const upstream = netConnect(target.port, target.host);
    let bytesLost = false;
    let losing: Loss | undefined;
    const end = (): void => {
      links.delete(end);
      client.destroy();
      upstream.destroy();
    };
    links.add(end);
    const endIfLost = async (): Promise<void> => {
      if (bytesLost) return;
      bytesLost = true;
      await change.promise;
      end();
    };
    const note = (): void => void endIfLost();
    const up = stream(
      upstream,
      () => weather,
      () => change.promise,
      note,
    );
    const down = stream(
      client,
      () => weather,
      () => change.promise,
      note,
    );
    for (const socket of [client, upstream]) socket.setNoDelay(true).on('error', end).on('close', end);
    client.on('data', (chunk) => {
      if (loss !== undefined && chunk.includes(loss.text)) {
        losing = loss;
        loss = undefined;
      }
      up(chunk);
    });
    upstream.on('data', (chunk) => {
      if (losing === undefined) down(chunk);
      else {
        end();
        losing.done();
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');

  return {
    port: (server.address() as AddressInfo).port,
    cut,
    set(next) {
      weather = next;
      if (next.kind === 'down') cut();
      change.resolve();
      change = Promise.withResolvers<void>();
    },
    loseAnswerTo(text) {
      const { promise, resolve } = Promise.withResolvers<void>();
      loss = { text, done: resolve };
      return promise;
    },
    async [Symbol.asyncDispose]() {
      server.close();
      cut();
    },
  };
}
