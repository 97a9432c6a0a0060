/** Metrics of connections to the gRPC port. Labels are closed sets. */
import { Counter, Gauge, type OpenMetricsContentType, type Registry } from 'prom-client';

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
  'unread_answers',
  'slow_requests',
  'stalled',
  'memory',
] as const;
export type ConnectionCloseReason = (typeof CONNECTION_CLOSE_REASONS)[number];

export interface ConnectionMetrics {
  /** By the gRPC port, by itself. */
  connectionClosed(reason: ConnectionCloseReason): void;
  /** When the certificate of the gRPC port ends. */
  certificateEnds(at: Date): void;
}

export function connectionMetrics(registers: [Registry<OpenMetricsContentType>]): ConnectionMetrics {
  const closed = new Counter({
    name: 'grpc_connections_closed_total',
    help: 'Connections that the gRPC port closed by itself, by reason.',
    labelNames: ['reason'] as const,
    registers,
  });
  for (const reason of CONNECTION_CLOSE_REASONS) closed.labels(reason).inc(0);
  const ends = new Gauge({
    name: 'tls_certificate_not_after_timestamp_seconds',
    help: 'When the certificate of a port ends, in seconds since 1970; a port without TLS has none.',
    // Without a label there would be one that ended in 1970.
    labelNames: ['port'] as const,
    registers,
  });
  return {
    connectionClosed: (reason) => closed.labels(reason).inc(),
    certificateEnds: (at) => ends.labels('grpc').set(at.getTime() / 1_000),
  };
}
