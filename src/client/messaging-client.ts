/**
 * What other teams import: `import { createMessagingClient } from 'messaging-client'`. One connection, one typed function per RPC, with
 * deadlines, retries, streams that resume, keepalive, trace context and readable errors. README.md beside this file says how it is used.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, credentials } from '@grpc/grpc-js';
import { Health } from '../../gen/grpc/health/v1/health_pb.js';
import { CacheService } from '../../gen/messaging/v1/cache_service_pb.js';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { SuppressionService } from '../../gen/messaging/v1/suppression_service_pb.js';
import { createRetryBudget, type Retry } from './repeat.ts';
import { type CallDefaults, createStub, type Stub } from './stub.ts';
import type { TokenSource } from './wire.ts';

export { status } from '@grpc/grpc-js';
export * from '../../gen/grpc/health/v1/health_pb.js';
export * from '../../gen/messaging/v1/cache_service_pb.js';
export * from '../../gen/messaging/v1/conversation_pb.js';
export * from '../../gen/messaging/v1/conversation_service_pb.js';
export * from '../../gen/messaging/v1/error_reason_pb.js';
export * from '../../gen/messaging/v1/message_pb.js';
export * from '../../gen/messaging/v1/message_service_pb.js';
export * from '../../gen/messaging/v1/provider_event_service_pb.js';
export * from '../../gen/messaging/v1/suppression_service_pb.js';
export { type FieldViolation, MessagingError } from './messaging-error.ts';
export type { Retry } from './repeat.ts';
export type { CallOptions, ServerStreamCall, Stub, UnaryCall } from './stub.ts';
export type { TokenSource } from './wire.ts';

/** How a client behaves; every field has a default. */
export interface MessagingClientOptions {
  /** Deadline of unary calls that bring none. Default 5,000. */
  readonly deadlineMs?: number;
  /** Headers of every request. */
  readonly metadata?: Readonly<Record<string, string>>;
  /**
   * Attempts at one call at most, the first included; 1: no retries. Default 8, which is 3 to 4 s of pauses. Repeated are calls that
   * never left; and where a second time does no harm, those that end with UNAVAILABLE or are cut off. See README.md, retries.
   */
  readonly maxAttempts?: number;
  /** Gives requests that bring no `request_id` a random one, so that they can be repeated. Default true. */
  readonly requestIds?: boolean;
  /** Told of every retry, of streams too, before its pause: for logs and metrics. Must not throw. */
  readonly onRetry?: (retry: Retry) => void;
  /** Speak TLS; `{}` trusts the certificate authorities of the system. Unset: cleartext. `key` and `cert` name the caller. PEM. */
  readonly tls?: { readonly ca?: Buffer; readonly key?: Buffer; readonly cert?: Buffer };
  /** Who calls, as a bearer token: a text, or what is asked for one before each attempt. It should keep it until shortly before it expires. */
  readonly token?: TokenSource;
  /** A connection is asked for a sign of life this often, also while no call runs. Default 30,000. */
  readonly keepaliveTimeMs?: number;
  /** A connection that gives no sign of life for this long is closed and its calls fail with UNAVAILABLE. Default 10,000. */
  readonly keepaliveTimeoutMs?: number;
  /** Largest answer that is accepted. Default 16 MiB, what the service sends at most unless configured otherwise. */
  readonly maxResponseBytes?: number;
}

/** The services of the contract over one connection. */
export interface MessagingClient extends Disposable {
  /** Sends messages, reads them back, and watches them. */
  readonly messages: Stub<typeof MessageService>;
  /** Reads, changes and watches conversations. */
  readonly conversations: Stub<typeof ConversationService>;
  /** Opt-outs. */
  readonly suppressions: Stub<typeof SuppressionService>;
  /** What providers report. For operators and gateways. */
  readonly providerEvents: Stub<typeof ProviderEventService>;
  /** Shows and steers the cache. For operators. */
  readonly cache: Stub<typeof CacheService>;
  /** Whether the service takes calls, as load balancers ask it. */
  readonly health: Stub<typeof Health>;
  /** Lets running calls finish and refuses new ones. `using client = createMessagingClient(...)` does it at the end of the block. */
  close(): void;
}

/** Calls are spread over all addresses of the target. Retries are this package's own (stub.ts): they look at the request too. */
const SERVICE_CONFIG = JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] });
/** A process that restarts is back soon, or another one is in its place; grpc-js by itself would wait from 1 s to 2 min. */
const RECONNECT = {
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 3_000,
  'grpc.dns_min_time_between_resolutions_ms': 5_000,
};

const wait: CallDefaults['wait'] = (ms, signal) => delay(ms, undefined, signal && { signal }).catch(() => undefined);

/**
 * `address` is a gRPC target such as `messaging:50051` or `dns:///messaging:50051`. Connects with the first call and again whenever
 * the connection is lost. Make one per process and share it.
 */
export function createMessagingClient(address: string, options: MessagingClientOptions = {}): MessagingClient {
  const { tls } = options;
  const security = tls ? credentials.createSsl(tls.ca ?? null, tls.key ?? null, tls.cert ?? null) : credentials.createInsecure();
  const client = new Client(address, security, {
    'grpc.service_config': SERVICE_CONFIG,
    'grpc.service_config_disable_resolution': 1,
    ...RECONNECT,
    'grpc.keepalive_time_ms': options.keepaliveTimeMs ?? 30_000,
    'grpc.keepalive_timeout_ms': options.keepaliveTimeoutMs ?? 10_000,
    'grpc.keepalive_permit_without_calls': 1,
    'grpc.max_receive_message_length': options.maxResponseBytes ?? 16 * 1_024 * 1_024,
  });
  const defaults: CallDefaults = {
    unaryDeadlineMs: options.deadlineMs ?? 5_000,
    metadata: options.metadata ?? {},
    token: options.token,
    maxAttempts: options.maxAttempts ?? 8,
    budget: createRetryBudget(),
    onRetry: options.onRetry,
    newId: options.requestIds === false ? undefined : randomUUID,
    random: Math.random,
    wait,
  };
  const close = () => client.close();
  return Object.freeze({
    messages: createStub(MessageService, client, defaults),
    conversations: createStub(ConversationService, client, defaults),
    suppressions: createStub(SuppressionService, client, defaults),
    providerEvents: createStub(ProviderEventService, client, defaults),
    cache: createStub(CacheService, client, defaults),
    health: createStub(Health, client, defaults),
    close,
    [Symbol.dispose]: close,
  });
}
