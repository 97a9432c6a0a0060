/** One connection of an attacker: bytes out as fast as the server takes them, and a look at what comes back. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { encodeFrame, FLAG, PREFACE, TYPE } from '../support/http2-frames.ts';

const HEAD_BYTES = 9;
const CONNECT_TIMEOUT_MS = 5_000;
/** Attackers have addresses of their own, another one in each attack: what was held against one attack is not held against the next. */
export const ATTACKER_ADDRESS = process.env['ATTACK_ADDRESS'] ?? '127.0.0.2';

/** What the attackers of one attack saw, all together. */
export interface Seen {
  /** Connections that were tried. */
  connected: number;
  /** Connections that the server closed, or did not take. */
  closed: number;
  /** Names of the codes in GOAWAY, RST_STREAM, and the statuses of answers; how often each. */
  readonly goAways: Record<string, number>;
  readonly resets: Record<string, number>;
  readonly answers: Record<string, number>;
}

export const newSeen = (): Seen => ({ connected: 0, closed: 0, goAways: {}, resets: {}, answers: {} });

export function count(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1;
}

const CODES = [
  ...['NO_ERROR', 'PROTOCOL_ERROR', 'INTERNAL_ERROR', 'FLOW_CONTROL_ERROR', 'SETTINGS_TIMEOUT', 'STREAM_CLOSED', 'FRAME_SIZE_ERROR'],
  ...['REFUSED_STREAM', 'CANCEL', 'COMPRESSION_ERROR', 'CONNECT_ERROR', 'ENHANCE_YOUR_CALM'],
];
const codeName = (code: number): string => CODES[code] ?? String(code);

export interface Target {
  readonly grpcPort: number;
  readonly tlsPort: number;
  readonly httpPort: number;
}

export interface AttackConnectionOptions {
  readonly port: number;
  readonly secure?: boolean;
  /** Sends the preface and these settings; without it nothing is sent. */
  readonly settings?: Uint8Array;
  /** What comes back is not read. */
  readonly deaf?: boolean;
}

export class AttackConnection {
  readonly #socket: Socket;
  readonly #seen: Seen;
  readonly #isSilent: boolean;
  #unread = Buffer.alloc(0);
  isOpen = true;
  readonly closed: Promise<void>;

  private constructor(socket: Socket, seen: Seen, { deaf = false, settings }: AttackConnectionOptions) {
    this.#socket = socket;
    this.#seen = seen;
    this.#isSilent = settings === undefined;
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.isOpen = false;
        resolve();
      });
    });
    if (!deaf) socket.on('data', (chunk: Buffer) => this.#take(chunk));
  }

  /** undefined: it was not let in. */
  static async open(options: AttackConnectionOptions, seen: Seen): Promise<AttackConnection | undefined> {
    const { port, secure = false, settings } = options;
    const from = { port, host: '127.0.0.1', localAddress: ATTACKER_ADDRESS };
    seen.connected += 1;
    const socket = secure ? connectTls({ ...from, ALPNProtocols: ['h2'], rejectUnauthorized: false }) : connect(from);
    socket.on('error', () => undefined);
    const isIn = await Promise.race([
      once(socket, secure ? 'secureConnect' : 'connect').then(
        () => true,
        () => false,
      ),
      once(socket, 'close').then(() => false),
      new Promise<false>((resolve) => setTimeout(resolve, CONNECT_TIMEOUT_MS, false).unref()),
    ]);
    if (!isIn) {
      seen.closed += 1;
      socket.destroy();
      return undefined;
    }
    const connection = new AttackConnection(socket, seen, options);
    if (settings !== undefined) await connection.write(Buffer.concat([Buffer.from(PREFACE), encodeFrame(TYPE.settings, 0, 0, settings)]));
    return connection;
  }

  /** Resolves when the server takes more, or is gone. */
  async write(bytes: Uint8Array): Promise<void> {
    if (!this.isOpen) return;
    const hasRoom = this.#socket.write(bytes);
    // Whoever always has room would never hear that it is to stop.
    await new Promise(setImmediate);
    if (hasRoom) return;
    await Promise.race([once(this.#socket, 'drain').catch(() => undefined), this.closed]);
  }

  #take(chunk: Buffer): void {
    this.#unread = Buffer.concat([this.#unread, chunk]);
    let at = 0;
    while (this.#unread.byteLength - at >= HEAD_BYTES) {
      const end = at + HEAD_BYTES + this.#unread.readUIntBE(at, 3);
      if (end > this.#unread.byteLength) break;
      this.#read(this.#unread.readUInt8(at + 3), this.#unread.readUInt8(at + 4), this.#unread.subarray(at + HEAD_BYTES, end));
      at = end;
    }
    this.#unread = this.#unread.subarray(at);
  }

  #read(type: number, flags: number, payload: Buffer): void {
    if (!this.#isSilent && type === TYPE.settings && (flags & FLAG.acknowledged) === 0) {
      this.#socket.write(encodeFrame(TYPE.settings, FLAG.acknowledged, 0, Buffer.alloc(0)));
    }
    if (type === TYPE.reset) count(this.#seen.resets, codeName(payload.readUInt32BE()));
    if (type === TYPE.goAway) count(this.#seen.goAways, codeName(payload.readUInt32BE(4)));
    if (type === TYPE.headers && (flags & FLAG.endStream) !== 0) count(this.#seen.answers, 'refused or ended');
  }

  /** By the attacker. */
  end(): void {
    this.#socket.destroy();
  }
}

/** Keeps so many connections at work until it is told to stop: one that was closed is replaced. */
export async function hammer(
  connections: number,
  seen: Seen,
  signal: AbortSignal,
  attack: (connect: (options: AttackConnectionOptions) => Promise<AttackConnection | undefined>, index: number) => Promise<void>,
): Promise<void> {
  const REST_MS = 50;
  const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
  const one = async (index: number): Promise<void> => {
    while (!signal.aborted) {
      let connection: AttackConnection | undefined;
      const open = async (options: AttackConnectionOptions) => {
        connection = await AttackConnection.open(options, seen);
        return connection;
      };
      await Promise.race([attack(open, index), stopped]);
      if (connection?.isOpen === false) seen.closed += 1;
      connection?.end();
      await Promise.race([new Promise((resolve) => setTimeout(resolve, REST_MS)), stopped]);
    }
  };
  await Promise.all(Array.from({ length: connections }, (_, index) => one(index)));
}
