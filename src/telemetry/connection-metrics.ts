/** Metrics of connections to the gRPC port. Labels are closed sets. */
import { Counter, type OpenMetricsContentType, type Registry } from 'prom-client';

/** Why the gRPC port closed a connection by itself. */
const CONNECTION_CLOSE_REASONS = [
  'too_many_connections',
  'too_many_of_address',
  'displaced',
  'unused',
  'no_preface',
  'suspect',
  'wasted',
  'pings',
  'settings',
  'noise',
  'protocol',
  'unfinished_requests',
  'slow_requests',
  'stalled',
  'memory',
] as const;
export type ConnectionCloseReason = (typeof CONNECTION_CLOSE_REASONS)[number];

export interface ConnectionMetrics {
  /** By the gRPC port, by itself. */
  connectionClosed(reason: ConnectionCloseReason): void;
}

export function connectionMetrics(registers: [Registry<OpenMetricsContentType>]): ConnectionMetrics {
  const closed = new Counter({
    name: 'grpc_connections_closed_total',
    help: 'Connections that the gRPC port closed by itself, by reason.',
    labelNames: ['reason'] as const,
    registers,
  });
  for (const reason of CONNECTION_CLOSE_REASONS) closed.labels(reason).inc(0);
  return { connectionClosed: (reason) => closed.labels(reason).inc() };
}
