/** What is known of one connection to the gRPC port and of the address it comes from, and when they do what no client would. */
import type { ServerHttp2Session } from 'node:http2';
import type { Duplex } from 'node:stream';
import { type Holding, nothing } from './holding.ts';
import { LISTENED_MS } from './patient-clock.ts';

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

/**
 * Calls of a connection that come to nothing, ever, and per call that does not: taken back before they are answered, or refused before a
 * handler sees them. Hedging takes back one of two.
 */
const FREE_WASTED = 1_500;
const WASTED_PER_ANSWER = 4;
/** The same for all connections of an address, per LEDGER_MS. */
const FREE_WASTED_OF_ADDRESS = 3_000;

/**
 * Calls of a connection whose heads HTTP/2 refuses, ever, and for each that a handler answered one more. We are not told of them, and each
 * costs some KB until all that has arrived is read.
 */
const FREE_LOST_HEADS = 100;
/** It is not looked at before it has sent so much since the last time: so many bytes are few lost heads. */
const UNHEARD_BYTES = 16_384;

/** Bytes of a quarter of a second in which no call began and none was arriving: frames that are no calls. */
const NOISE_BYTES = 262_144;
/** What a connection moves in a second at least while it holds more than it may for long. */
const MOVING_BYTES = 65_536;
const LOOK_BACK_MS = 1_000;

/** The same one on two clocks. */
export interface Moment {
  readonly nowMs: number;
  readonly patientMs: number;
}

/** Calls that a handler answered, and calls that came to nothing. */
class Endings {
  answered = 0;
  wasted = 0;

  exceed(free: number): boolean {
    return this.wasted > free + WASTED_PER_ANSWER * this.answered;
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

  answered(nowMs: number): void {
    this.#renew(nowMs);
    this.#endings.answered += 1;
  }

  /** Returns whether its connections waste too much, together. */
  wasted(nowMs: number): boolean {
    this.#renew(nowMs);
    this.#endings.wasted += 1;
    return this.#endings.exceed(FREE_WASTED_OF_ADDRESS);
  }

  #renew(nowMs: number): void {
    if (nowMs - this.#ledgerMs < LEDGER_MS) return;
    this.#ledgerMs = nowMs;
    this.#endings = new Endings();
  }
}

export class Connection {
  readonly key: string;
  readonly peer: Peer;
  readonly socket: PeerSocket;
  /** On the patient clock. */
  readonly openedMs: number;
  isClosed = false;
  session: ServerHttp2Session | undefined;
  /** It has said that it speaks HTTP/2. */
  hasPreface = false;
  /** It has called at least once. */
  hasCalled = false;
  lastCallMs: number;
  callsUnderWay = 0;
  /** It was opened while its address was held suspect. */
  readonly isNewcomer: boolean;
  /** Requests that did not arrive in time. */
  slowRequests = 0;
  holding: Holding = nothing();
  readonly endings = new Endings();
  /** Streams that never became calls. */
  #unheard = 0;
  #lastStream = -1;
  #weighedBytes = 0;
  #pings = 0;
  #settings = 0;
  #ledgerMs: number;
  #writtenBefore = 0;
  #lookedMs: number;
  #lookedPatientMs: number;
  #readBytes = 0;
  #heardMs: number;
  #wasArriving = false;
  #movedBytes = 0;

  constructor(socket: PeerSocket, peer: Peer, { nowMs, patientMs }: Moment) {
    this.socket = socket;
    this.key = peerKey(socket);
    this.peer = peer;
    this.openedMs = patientMs;
    this.isNewcomer = nowMs < peer.suspectUntilMs;
    this.lastCallMs = nowMs;
    this.#ledgerMs = nowMs;
    this.#lookedMs = nowMs;
    this.#lookedPatientMs = patientMs;
    this.#heardMs = nowMs;
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

  answered(nowMs: number): void {
    this.endings.answered += 1;
    this.peer.answered(nowMs);
  }

  /** Returns whether it wastes too much. */
  wasted(): boolean {
    this.endings.wasted += 1;
    return this.endings.exceed(FREE_WASTED);
  }

  /** Told of each call by the number of its stream. */
  heard(stream: number): void {
    this.#unheard += (stream - this.#lastStream) / 2 - 1;
    this.#lastStream = stream;
  }

  /**
   * Whether too many heads were lost, and the last one that came was: numbers alone prove nothing, since clients leave out those of calls
   * that they take back before they send them. Costs little when little has come since it was asked last.
   */
  losesHeads(): boolean {
    const { bytesRead } = this.socket;
    if (bytesRead - this.#weighedBytes < UNHEARD_BYTES || this.session?.destroyed !== false) return false;
    this.#weighedBytes = bytesRead;
    const unheard = ((this.session.state.lastProcStreamID ?? 0) - this.#lastStream) / 2;
    return unheard > 0 && this.#unheard + unheard > FREE_LOST_HEADS + this.endings.answered;
  }

  #renew(nowMs: number): void {
    if (nowMs - this.#ledgerMs < LEDGER_MS) return;
    this.#ledgerMs = nowMs;
    this.#pings = 0;
    this.#settings = 0;
    this.#writtenBefore = this.socket.bytesWritten;
  }

  /** Whether it sent much since it was asked last, and nothing of a call. */
  isNoise(nowMs: number): boolean {
    const { bytesRead } = this.socket;
    const isMuch = bytesRead - this.#readBytes > NOISE_BYTES;
    const isArriving = this.holding.unfinished > 0;
    // What was arriving when it was asked last may have come to its end since.
    const isCalling = this.lastCallMs >= this.#heardMs || isArriving || this.#wasArriving;
    this.#wasArriving = isArriving;
    this.#heardMs = nowMs;
    this.#readBytes = bytesRead;
    return isMuch && !isCalling;
  }

  /** Whether it moved nothing to speak of in the second before; false, too, while that is not over. */
  isStill({ nowMs, patientMs }: Moment): boolean {
    if (nowMs - this.#lookedMs < LOOK_BACK_MS || patientMs - this.#lookedPatientMs < LISTENED_MS) return false;
    const { bytesRead, bytesWritten } = this.socket;
    const movedBytes = bytesRead + bytesWritten - this.#movedBytes;
    this.#lookedMs = nowMs;
    this.#lookedPatientMs = patientMs;
    this.#movedBytes = bytesRead + bytesWritten;
    return movedBytes < MOVING_BYTES;
  }
}
