/** Stands between the service and PostgreSQL: writes down every statement, and can keep an answer back. */
import { once } from 'node:events';
import { type AddressInfo, createServer, connect as netConnect, type Socket } from 'node:net';

export interface HeldAnswer {
  /** Resolves when PostgreSQL has answered; the service has not got it yet. */
  readonly answered: Promise<void>;
  release(): void;
}

export interface SqlProxy extends AsyncDisposable {
  /** For DATABASE_URL. */
  readonly url: string;
  /** Every statement that `work` made the service run, apart from its own probes. */
  statementsOf(work: () => Promise<unknown>): Promise<readonly string[]>;
  /** Keeps back the answer to the next statement that matches. */
  holdNext(statement: RegExp): HeldAnswer;
}

/** What the service asks of its own accord: readiness every second, the relay of invalidations twenty times. */
const PROBE = /^select 1 from messages, conversations|cache_outbox order by txid|^delete from cache_outbox|cache_relay|advisory_lock/;
/** Length, then the version of the protocol: the only message without a type byte. */
const STARTUP_HEAD_BYTES = 4;
const HEAD_BYTES = 5;

/** Cuts what a client sends into messages and passes on the SQL texts: of simple queries and of statements that are bound to be run. */
function statementReader(onStatement: (text: string) => void): (chunk: Buffer) => void {
  let pending = Buffer.alloc(0);
  /** What was parsed, by the name it got; that without a name is replaced by the next one. */
  const parsed = new Map<string, string>();
  let started = false;
  return (chunk) => {
    pending = Buffer.concat([pending, chunk]);
    if (!started && pending.length >= STARTUP_HEAD_BYTES && pending.length >= pending.readInt32BE(0)) {
      pending = pending.subarray(pending.readInt32BE(0));
      started = true;
    }
    while (started && pending.length >= HEAD_BYTES && pending.length > pending.readInt32BE(1)) {
      const end = 1 + pending.readInt32BE(1);
      const type = String.fromCharCode(pending[0] ?? 0);
      const texts = pending.toString('utf8', HEAD_BYTES, end).split('\0');
      // A parse message begins with the name of the statement, a bind message with that of the portal.
      const [first = '', second = ''] = texts;
      if (type === 'Q') onStatement(first);
      if (type === 'P') parsed.set(first, second);
      if (type === 'B') onStatement(parsed.get(second) ?? `bind ${second}`);
      pending = pending.subarray(end);
    }
  };
}

interface Hold extends HeldAnswer {
  readonly statement: RegExp;
  readonly released: Promise<void>;
  answer(): void;
}

function newHold(statement: RegExp): Hold {
  const answered = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  return { statement, answered: answered.promise, answer: answered.resolve, released: released.promise, release: released.resolve };
}

export async function startSqlProxy(databaseUrl: string): Promise<SqlProxy> {
  const target = new URL(databaseUrl);
  const sockets = new Set<Socket>();
  const seen: string[] = [];
  let armed: Hold | undefined;

  const server = createServer((client) => {
    const upstream = netConnect(Number(target.port), target.hostname);
    let hold: Hold | undefined;
    const read = statementReader((text) => {
      if (PROBE.test(text)) return;
      seen.push(text);
      if (armed?.statement.test(text) !== true) return;
      hold = armed;
      armed = undefined;
    });
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
    }
    client.on('data', (chunk) => {
      read(chunk);
      upstream.write(chunk);
    });
    upstream.on('data', async (chunk) => {
      if (hold !== undefined) {
        hold.answer();
        upstream.pause();
        await hold.released;
        hold = undefined;
        upstream.resume();
      }
      client.write(chunk);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(databaseUrl);
  url.port = String((server.address() as AddressInfo).port);

  return {
    url: url.href,
    async statementsOf(work) {
      const before = seen.length;
      await work();
      return seen.slice(before);
    },
    holdNext(statement) {
      const hold = newHold(statement);
      armed = hold;
      return hold;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
