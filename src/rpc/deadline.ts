/** How long a call may take, read from its headers before anything else of it has arrived. */
import type { IncomingHttpHeaders } from 'node:http2';

const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 0.001, n: 0.000_001 };

/** The caller's deadline in ms, or undefined when there is none or it cannot be read (which the transport reports). */
export function requestedTimeoutMs(headers: IncomingHttpHeaders): number | undefined {
  const grpc = /^(\d{1,8})([HMSmun])$/.exec(String(headers['grpc-timeout'] ?? ''));
  const [, amount, unit] = grpc ?? [];
  if (amount !== undefined && unit !== undefined) return Number(amount) * (UNIT_MS[unit] ?? 0);
  const connect = /^\d{1,10}$/.exec(String(headers['connect-timeout-ms'] ?? ''));
  return connect === null ? undefined : Number(connect[0]);
}
