/** Keeps a place for whoever asks something: connections that ask nothing make room for new ones. */
import type { Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

/** One after the other is the rule; who sends more without waiting for answers is no client of ours. */
const MAX_REQUESTS_AT_ONCE = 4;

/** Of `maxConnections` in all; the one that has asked nothing for longest is closed for a new one. */
export function keepRoom(server: Server, maxConnections: number): void {
  /** Requests under way. */
  const asked = new Map<Duplex, number>();
  /** Those without any, in the order in which they came to be so. */
  const idle = new Set<Duplex>();
  server.on('connection', (socket: Duplex) => {
    asked.set(socket, 0);
    idle.add(socket);
    socket.once('close', () => {
      asked.delete(socket);
      idle.delete(socket);
    });
    if (asked.size <= maxConnections) return;
    const [longest = socket] = idle;
    longest.destroy();
  });
  server.on('request', ({ socket }, response: ServerResponse) => {
    const change = (by: number): void => {
      const requests = (asked.get(socket) ?? 0) + by;
      // With several at once one may end after the connection has.
      if (!asked.has(socket)) return;
      asked.set(socket, requests);
      if (requests === 0) idle.add(socket);
      else idle.delete(socket);
      if (requests > MAX_REQUESTS_AT_ONCE) socket.destroy();
    };
    change(1);
    response.once('close', () => change(-1));
  });
}
