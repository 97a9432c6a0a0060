/**
 * What peers may make this process hold and do, over all connections to the gRPC port. Memory is bounded for the process and not only for
 * each connection, so that many small attackers get no further than a large one; whoever holds the most is closed first.
 */
import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { ConnectionCloseReason, ConnectionMetrics } from '../telemetry/connection-metrics.ts';
import type { Log } from '../telemetry/log.ts';
import type { Call } from './call.ts';
import { Connection, type Moment, Peer, type PeerSocket, peerKey } from './connection.ts';
import { type Holding, weigh } from './holding.ts';
import type { PatientClock } from './patient-clock.ts';
import { UnreadAnswers } from './unread-answers.ts';

export interface ConnectionLimits {
  readonly maxConnections: number;
  readonly maxConnectionsPerAddress: number;
}

export interface ConnectionGuard {
  /** A peer has connected; false: it was refused, and is gone. */
  admits(socket: PeerSocket): boolean;
  /** undefined: it was closed in the meantime. */
  began(session: ServerHttp2Session): Connection | undefined;
  /** Before a call is looked at; false: the connection has as many under way as it may for now. */
  mayCall(connection: Connection, stream: ServerHttp2Stream): boolean;
  called(call: Call): void;
  /** A call is over. */
  ended(call: Call): void;
  /** The request of a call did not arrive within `afterMs`. */
  requestWasSlow(call: Call, afterMs: number): void;
  stop(): void;
}

export interface GuardParts {
  readonly log: Log;
  readonly metrics: ConnectionMetrics;
  /** Calls under way. */
  readonly running: ReadonlySet<Call>;
  nowMs(): number;
  /** For what peers leave undone. */
  readonly clock: PatientClock;
}

const SWEEP_MS = 250;
const GLANCE_MS = 25;
/** The sweep comes before its time when so many more calls are under way. */
const SWEEP_CALLS = 500;
/** Until HTTP/2 begins; a TLS handshake has a limit of its own before it. */
const PREFACE_TIMEOUT_MS = 10_000;
const FIRST_CALL_TIMEOUT_MS = 30_000;
/** Of maxConnections, for those that have not called yet. A new one takes the place of the one that has not for longest. */
const UNUSED_SHARE = 1 / 16;
/** Of all connections together; one has MAX_CONCURRENT_STREAMS at most. A burst of calls brings all heads first, then the bodies. */
const MAX_UNFINISHED_REQUESTS = 10_000;
/** Of these, such as are no longer part of a burst. */
const MAX_OLD_UNFINISHED_REQUESTS = 2_000;
/** Of one connection, ever. */
const MAX_SLOW_REQUESTS = 100;
/** Of all connections together, that nobody has begun to take for a while. */
const MAX_UNREAD_ANSWERS = 1_000;
/** One that holds more than this, and does not move, is closed. */
const MAX_STALLED_BYTES = 4_194_304;
/** Of all connections together. */
const MAX_HELD_BYTES = 67_108_864;
/**
 * When a connection is closed for what it did, so are those of the same address that no call was answered on yet, and for a while it may
 * open few others. Clients that are at work stay.
 */
const SUSPECT_MS = 10_000;
const SUSPECT_CONNECTION_EVERY_MS = 1_000;
/** Under way at once, on a connection that was opened in that while, until it is over. */
const SUSPECT_CALLS = 100;

/** Its peer has done nothing wrong. */
const ORDERLY: ReadonlySet<ConnectionCloseReason> = new Set([
  'unused',
  'displaced',
  'too_many_connections',
  'too_many_of_address',
  'suspect',
]);

function most<T>(items: Iterable<T>, measure: (item: T) => number): T | undefined {
  let [found, largest]: [T | undefined, number] = [undefined, 0];
  for (const item of items) {
    const size = measure(item);
    if (size > largest) [found, largest] = [item, size];
  }
  return found;
}

export function guardConnections({ maxConnections, maxConnectionsPerAddress }: ConnectionLimits, parts: GuardParts): ConnectionGuard {
  const { log, metrics, running, nowMs, clock } = parts;
  const connections = new Map<string, Connection>();
  const peers = new Map<string, Peer>();
  /** In the order in which they came. */
  const unused = new Set<Connection>();
  const maxUnused = Math.max(1, Math.floor(maxConnections * UNUSED_SHARE));
  const unreadAnswers = new UnreadAnswers();
  let sweptCalls = 0;
  const moment = (): Moment => ({ nowMs: nowMs(), patientMs: clock.nowMs() });

  function forget(connection: Connection): void {
    connection.isClosed = true;
    // The peer may have connected again from the same port.
    if (connections.get(connection.key) === connection) connections.delete(connection.key);
    unused.delete(connection);
    connection.peer.connections.delete(connection);
  }

  function tell(reason: ConnectionCloseReason): void {
    metrics.connectionClosed(reason);
    log.debug({ reason }, 'connection closed');
  }

  function close(connection: Connection, reason: ConnectionCloseReason): void {
    if (connection.isClosed) return;
    forget(connection);
    tell(reason);
    const { session, socket, peer } = connection;
    if (!ORDERLY.has(reason) && session?.destroyed === false) session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    // With a reason, each of its streams would be given an error with a stack.
    session?.destroy();
    if (session === undefined) socket.destroy();
    if (!ORDERLY.has(reason)) suspect(peer);
  }

  /** What its newcomers have sent is not worth reading: who floods us does so over many connections at once. */
  function suspect(peer: Peer): void {
    peer.suspectUntilMs = nowMs() + SUSPECT_MS;
    for (const each of [...peer.connections]) if (each.endings.answered === 0) close(each, 'suspect');
  }

  /** Reading the clock for every call would cost more than the rest: `ms` is not long ago. */
  function waste(connection: Connection, ms: number): void {
    const { peer } = connection;
    if (connection.wasted()) close(connection, 'wasted');
    if (!peer.wasted(ms)) return;
    for (const each of [...peer.connections]) if (each.endings.exceed(0)) close(each, 'wasted');
  }

  /** The one that has had no call under way for longest. */
  function idlest(): Connection | undefined {
    const busy = new Set([...running].map(({ connection }) => connection));
    return most(connections.values(), (connection) => (busy.has(connection) ? 0 : nowMs() - connection.lastCallMs));
  }

  /** What one connection does, whatever the others do. */
  function judge(connection: Connection, now: Moment): void {
    const { hasPreface, hasCalled, session, openedMs, holding } = connection;
    if (!hasPreface && session !== undefined && now.patientMs - openedMs > PREFACE_TIMEOUT_MS) close(connection, 'no_preface');
    if (!hasCalled && now.patientMs - openedMs > FIRST_CALL_TIMEOUT_MS) close(connection, 'unused');
    if (connection.isNoise(now.nowMs)) close(connection, 'noise');
    if (connection.isStill(now) && holding.bytes > MAX_STALLED_BYTES) close(connection, 'stalled');
  }

  /** Closes those that weigh the most until all together hold no more than they may. */
  function relieve(reason: ConnectionCloseReason, what: keyof Holding, max: number, weight: keyof Holding = what): void {
    let left = -max;
    for (const { holding } of connections.values()) left += holding[what];
    while (left > 0) {
      const worst = most(connections.values(), ({ holding }) => holding[weight]);
      if (worst === undefined) return;
      left -= worst.holding[what];
      close(worst, reason);
    }
  }

  function sweep(): void {
    const now = moment();
    sweptCalls = running.size;
    const { waiting, late } = unreadAnswers.look(running, now);
    weigh(connections.values(), { running, waiting, patientNow: now.patientMs });
    relieve('unfinished_requests', 'oldUnfinished', MAX_OLD_UNFINISHED_REQUESTS, 'oldUnfinishedMs');
    relieve('unfinished_requests', 'unfinished', MAX_UNFINISHED_REQUESTS);
    relieve('unread_answers', 'unread', MAX_UNREAD_ANSWERS);
    relieve('memory', 'bytes', MAX_HELD_BYTES);
    for (const connection of [...connections.values()]) judge(connection, now);
    for (const { stream } of late) stream.close(constants.NGHTTP2_CANCEL);
    for (const peer of [...peers.values()]) {
      if (peer.connections.size === 0 && now.nowMs > peer.suspectUntilMs) peers.delete(peer.address);
    }
  }

  function peerOf({ remoteAddress = '' }: PeerSocket): Peer {
    const known = peers.get(remoteAddress);
    if (known !== undefined) return known;
    const peer = new Peer(remoteAddress);
    peers.set(remoteAddress, peer);
    return peer;
  }

  /** Makes room for one more; why there is none for it. */
  function refusalOf(peer: Peer, now: number): ConnectionCloseReason | undefined {
    if (peer.connections.size >= maxConnectionsPerAddress) return 'too_many_of_address';
    if (now < peer.suspectUntilMs && now - peer.admittedMs < SUSPECT_CONNECTION_EVERY_MS) return 'suspect';
    const [oldest] = unused.size >= maxUnused ? unused : [];
    if (oldest !== undefined) close(oldest, 'displaced');
    if (connections.size < maxConnections) return undefined;
    const idle = idlest();
    if (idle === undefined) return 'too_many_connections';
    close(idle, 'too_many_connections');
    return undefined;
  }

  /** The C allocator returns little of what a flood makes it take between two sweeps. */
  function glance(): void {
    for (const connection of connections.values()) if (connection.losesHeads()) close(connection, 'wasted');
  }

  const timers = [setInterval(sweep, SWEEP_MS).unref(), setInterval(glance, GLANCE_MS).unref()];
  return {
    admits(socket) {
      // It has gone already.
      if (socket.remotePort === undefined) {
        socket.destroy();
        return false;
      }
      const now = nowMs();
      const peer = peerOf(socket);
      const refusal = refusalOf(peer, now);
      if (refusal !== undefined) {
        tell(refusal);
        socket.destroy();
        return false;
      }
      const connection = new Connection(socket, peer, moment());
      connections.set(connection.key, connection);
      peer.connections.add(connection);
      peer.admittedMs = now;
      unused.add(connection);
      socket.once('close', () => forget(connection));
      return true;
    },
    began(session) {
      const connection = connections.get(peerKey(session.socket));
      if (connection === undefined) {
        session.destroy();
        return undefined;
      }
      connection.session = session;
      session.on('ping', () => connection.ping(nowMs()) && close(connection, 'pings'));
      session.on('remoteSettings', () => connection.settings(nowMs()) && close(connection, 'settings'));
      // Others are of the network, or the peer's own.
      session.on('error', ({ code }: NodeJS.ErrnoException) => code === 'ERR_HTTP2_ERROR' && close(connection, 'protocol'));
      return connection;
    },
    mayCall(connection, { id = 0 }) {
      connection.heard(id);
      const { isNewcomer, callsUnderWay, peer } = connection;
      if (!isNewcomer || callsUnderWay < SUSPECT_CALLS) return true;
      const now = nowMs();
      if (now > peer.suspectUntilMs) return true;
      waste(connection, now);
      return false;
    },
    called({ connection, openedMs }) {
      connection.callsUnderWay += 1;
      connection.lastCallMs = openedMs;
      if (!connection.hasCalled) {
        connection.hasCalled = true;
        unused.delete(connection);
      }
      if (running.size - sweptCalls > SWEEP_CALLS) sweep();
    },
    ended({ connection, code, openedMs }) {
      connection.callsUnderWay -= 1;
      // What ends with its connection says nothing.
      if (connection.isClosed) return;
      // No handler, and no rule of the contract, has had a say.
      if (code === undefined) waste(connection, openedMs);
      else connection.answered(openedMs);
    },
    requestWasSlow({ connection, patientMs }, afterMs) {
      // A deadline passes, too, while this process is held up and reads nothing.
      if (clock.nowMs() - patientMs < afterMs / 2) return;
      connection.slowRequests += 1;
      if (connection.slowRequests > MAX_SLOW_REQUESTS) close(connection, 'slow_requests');
    },
    stop() {
      for (const timer of timers) clearInterval(timer);
    },
  };
}
