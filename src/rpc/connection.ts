/** What is known of one connection to the gRPC port and of the address it comes from, and when they do what no client would. */
import type { ServerHttp2Session } from 'node:http2';
import type { Duplex } from 'node:stream';

/** A TCP connection. */
export interface PeerSocket extends Duplex {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

/** Tells connections apart: HTTP/2 hides the socket that it runs on. */
export const peerKey = ({ remoteAddress, remotePort }: Pick<PeerSocket, 'remoteAddress' | 'remotePort'>): string =>
  `${remoteAddress} ${remotePort}`;

/**
 * PINGs and SETTINGS that are free per LEDGER_MS. Clients send one to find out whether we live (every 10 s at most), and some after each
 * answer to measure the connection: answers pay for further PINGs.
 */
const FREE_PINGS = 100;
const FREE_SETTINGS = 100;
const LEDGER_MS = 10_000;
const PING_FRAME_BYTES = 17;
/** An answer is never shorter. */
const BYTES_OF_AN_ANSWER = 32;

/** Calls that a connection may cancel before they are answered, ever, and per call that was answered: hedging cancels one of two. */
const FREE_CANCELS = 1_500;
const CANCELS_PER_ANSWER = 4;
/** The same for all connections of an address, per LEDGER_MS. */
const FREE_CANCELS_OF_ADDRESS = 3_000;

/** Bytes of a second in which no call began and none was under way: frames that are no calls. */
const NOISE_BYTES = 262_144;
/** What a connection moves in a second at least while it holds more than it may for long. */
const MOVING_BYTES = 65_536;
const LOOK_BACK_MS = 1_000;

/** What a connection makes us hold: requests that are not whole, and answers that are not taken. */
export interface Holding {
  /** Requests of which the end is missing. */
  unfinished: number;
  /** For how long they have been so, together. */
  unfinishedMs: number;
  bytes: number;
}

/** Calls that were told how they ended, and calls whose caller went away before. */
class Endings {
  answered = 0;
  canceled = 0;

  exceed(free: number): boolean {
    return this.canceled > free + CANCELS_PER_ANSWER * this.answered;
  }
}

/** An address, while it has connections, or was refused some. */
export class Peer {
  readonly address: string;
  readonly connections = new Set<Connection>();
  /** Until then it may open few connections. */
  suspectUntilMs = 0;
  admittedMs = 0;
  #endings = new Endings();
  #ledgerMs = 0;

  constructor(address: string) {
    this.address = address;
  }

  /** Returns whether its connections cancel too much, together. */
  ended(isAnswered: boolean, nowMs: number): boolean {
    if (nowMs - this.#ledgerMs > LEDGER_MS) {
      this.#ledgerMs = nowMs;
      this.#endings = new Endings();
    }
    if (isAnswered) this.#endings.answered += 1;
    else this.#endings.canceled += 1;
    return !isAnswered && this.#endings.exceed(FREE_CANCELS_OF_ADDRESS);
  }
}

export class Connection {
  readonly key: string;
  readonly peer: Peer;
  readonly socket: PeerSocket;
  readonly openedMs: number;
  isClosed = false;
  session: ServerHttp2Session | undefined;
  /** It has said that it speaks HTTP/2. */
  hasPreface = false;
  /** It has called at least once. */
  hasCalled = false;
  lastCallMs: number;
  /** Requests that did not arrive in time. */
  slowRequests = 0;
  holding: Holding = { unfinished: 0, unfinishedMs: 0, bytes: 0 };
  readonly endings = new Endings();
  #pings = 0;
  #settings = 0;
  #ledgerMs: number;
  #writtenBefore = 0;
  #lookedMs: number;
  #readBytes = 0;
  #movedBytes = 0;

  constructor(socket: PeerSocket, peer: Peer, nowMs: number) {
    this.socket = socket;
    this.key = peerKey(socket);
    this.peer = peer;
    this.openedMs = nowMs;
    this.lastCallMs = nowMs;
    this.#ledgerMs = nowMs;
    this.#lookedMs = nowMs;
  }

  /** Returns whether it was one too many. */
  ping(nowMs: number): boolean {
    this.#renew(nowMs);
    this.#pings += 1;
    if (this.#pings <= FREE_PINGS) return false;
    const answeredBytes = this.socket.bytesWritten - this.#writtenBefore - this.#pings * PING_FRAME_BYTES;
    return answeredBytes < (this.#pings - FREE_PINGS) * BYTES_OF_AN_ANSWER;
  }

  /** Returns whether it was one too many. */
  settings(nowMs: number): boolean {
    this.#renew(nowMs);
    this.hasPreface = true;
    this.#settings += 1;
    return this.#settings > FREE_SETTINGS;
  }

  /** Returns whether it cancels too much. */
  ended(isAnswered: boolean): boolean {
    if (isAnswered) this.endings.answered += 1;
    else this.endings.canceled += 1;
    return !isAnswered && this.endings.exceed(FREE_CANCELS);
  }

  #renew(nowMs: number): void {
    if (nowMs - this.#ledgerMs < LEDGER_MS) return;
    this.#ledgerMs = nowMs;
    this.#pings = 0;
    this.#settings = 0;
    this.#writtenBefore = this.socket.bytesWritten;
  }

  /** What it did in the second before, asked again and again; undefined: that is not over. */
  lookBack(nowMs: number): { readonly isNoise: boolean; readonly hasMoved: boolean } | undefined {
    if (nowMs - this.#lookedMs < LOOK_BACK_MS) return undefined;
    const { bytesRead, bytesWritten } = this.socket;
    const isNoise = bytesRead - this.#readBytes > NOISE_BYTES && this.lastCallMs < this.#lookedMs && this.holding.unfinished === 0;
    const hasMoved = bytesRead + bytesWritten - this.#movedBytes >= MOVING_BYTES;
    this.#lookedMs = nowMs;
    this.#readBytes = bytesRead;
    this.#movedBytes = bytesRead + bytesWritten;
    return { isNoise, hasMoved };
  }
}
