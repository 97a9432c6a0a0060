/** Who may see the status page: the port is also the one that providers post webhooks to, so anybody may try. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { type Answer, json } from './http-server.ts';

export interface AccessOptions {
  readonly token: string;
  /** Monotonic. */
  readonly nowMs: () => number;
}

/** undefined: go on; otherwise the refusal. */
export type Access = (request: IncomingMessage) => Answer | undefined;

const USER = 'operator';
/** Of one peer, within one window; then its tries are refused unread until the window is over. */
const MAX_FAILED_TRIES = 10;
const WINDOW_MS = 60_000;
/** Of more the oldest are forgotten. */
const MAX_PEERS = 1_000;
/** Sent by the page: a browser that is asked for a password while nobody looks would show its dialog again and again. */
export const PAGE_HEADER = 'x-status-page';

const digestOf = (text: string): Buffer => createHash('sha256').update(text).digest();

interface Tries {
  readonly sinceMs: number;
  failed: number;
}

function limiter(nowMs: () => number) {
  const byPeer = new Map<string, Tries>();
  const running = (peer: string): Tries | undefined => {
    const tries = byPeer.get(peer);
    return tries !== undefined && nowMs() - tries.sinceMs < WINDOW_MS ? tries : undefined;
  };
  return {
    /** How long the peer must wait; 0: it may try. */
    blockedForMs(peer: string): number {
      const tries = running(peer);
      return tries === undefined || tries.failed < MAX_FAILED_TRIES ? 0 : tries.sinceMs + WINDOW_MS - nowMs();
    },
    failed(peer: string): void {
      const tries = running(peer) ?? { sinceMs: nowMs(), failed: 0 };
      tries.failed += 1;
      // Again at the end, in the order in which windows began.
      if (tries.failed === 1) byPeer.delete(peer);
      byPeer.set(peer, tries);
      const [oldest] = byPeer.keys();
      if (byPeer.size > MAX_PEERS && oldest !== undefined) byPeer.delete(oldest);
    },
  };
}

/** An IPv6 peer is its network: whoever has one address of it has all. */
export function peerOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(address)?.[1];
  if (mapped !== undefined || !address.includes(':')) return mapped ?? address;
  const [head = [], tail = []] = address.split('::').map((half) => half.split(':').filter((group) => group !== ''));
  const zeros = Array<string>(8 - head.length - tail.length).fill('0');
  return [...head, ...zeros, ...tail].slice(0, 4).join(':');
}

/** HTTP Basic authentication as `operator`, the token for password. */
export function createAccess({ token, nowMs }: AccessOptions): Access {
  const expected = digestOf(`${USER}:${token}`);
  const tries = limiter(nowMs);
  const unauthorized = (request: IncomingMessage): Answer => {
    const challenge = request.headers[PAGE_HEADER] === undefined ? { 'www-authenticate': 'Basic realm="status", charset="UTF-8"' } : {};
    return json(401, { error: 'unauthorized', message: `Sign in as ${USER} with STATUS_TOKEN.` }, { connection: 'close', ...challenge });
  };
  return (request) => {
    const { authorization } = request.headers;
    const [, credentials] = /^Basic +([A-Za-z0-9+/=]+)$/i.exec(authorization ?? '') ?? [];
    if (authorization === undefined) return unauthorized(request);
    const peer = peerOf(request.socket.remoteAddress ?? '');
    const blockedForMs = tries.blockedForMs(peer);
    if (blockedForMs > 0) {
      const headers = { 'retry-after': String(Math.ceil(blockedForMs / 1_000)), connection: 'close' };
      return json(429, { error: 'too_many_tries', message: 'Too many failed tries; wait a minute.' }, headers);
    }
    // Digests have one length, whatever was sent.
    const given = digestOf(Buffer.from(credentials ?? '', 'base64').toString('utf8'));
    if (timingSafeEqual(given, expected)) return undefined;
    tries.failed(peer);
    return unauthorized(request);
  };
}
