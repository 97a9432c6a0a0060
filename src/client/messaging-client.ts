/**
 * What other teams import: `import { createMessagingClient } from 'messaging-service/client'`. One connection, one typed function
 * per RPC, with deadlines, retries, keepalive, trace context and readable errors.
 */
import { Client, credentials } from '@grpc/grpc-js';
import { Health } from '../../gen/grpc/health/v1/health_pb.js';
import { CacheService } from '../../gen/messaging/v1/cache_service_pb.js';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { SuppressionService } from '../../gen/messaging/v1/suppression_service_pb.js';
import { serviceConfigOf } from './service-config.ts';
import { createStub, type Stub, type TokenSource } from './stub.ts';

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
export type { CallOptions, ServerStreamCall, TokenSource, UnaryCall } from './stub.ts';

export interface MessagingClientOptions {
  /** Deadline of unary calls that bring none. Default 5,000. */
  readonly deadlineMs?: number;
  /** Headers of every request. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Speak TLS; `{}` trusts the certificate authorities of the system. Unset: cleartext. `key` and `cert` name the caller. PEM. */
  readonly tls?: { readonly ca?: Buffer; readonly key?: Buffer; readonly cert?: Buffer };
  /** Who calls, as a bearer token: a text, or what is asked for one before each call. It should keep it until shortly before it expires. */
  readonly token?: TokenSource;
  /** A connection is asked for a sign of life this often, also while no call runs. Default 30,000. */
  readonly keepaliveTimeMs?: number;
  /** A connection that gives no sign of life for this long is closed and its calls fail with UNAVAILABLE. Default 10,000. */
  readonly keepaliveTimeoutMs?: number;
  /** Largest answer that is accepted. Default 16 MiB, what the service sends at most unless configured otherwise. */
  readonly maxResponseBytes?: number;
}

export interface MessagingClient extends Disposable {
  readonly messages: Stub<typeof MessageService>;
  readonly conversations: Stub<typeof ConversationService>;
  readonly suppressions: Stub<typeof SuppressionService>;
  readonly providerEvents: Stub<typeof ProviderEventService>;
  readonly cache: Stub<typeof CacheService>;
  /** Whether the service takes calls, as load balancers ask it. */
  readonly health: Stub<typeof Health>;
  /** Lets running calls finish and refuses new ones. `using client = createMessagingClient(...)` does it at the end of the block. */
  close(): void;
}

const services = [MessageService, ConversationService, SuppressionService, ProviderEventService, CacheService];

/**
 * `address` is a gRPC target such as `messaging:50051` or `dns:///messaging:50051`. Connects with the first call and again whenever
 * the connection is lost. Make one per process and share it.
 */
export function createMessagingClient(address: string, options: MessagingClientOptions = {}): MessagingClient {
  const { tls } = options;
  const security = tls ? credentials.createSsl(tls.ca ?? null, tls.key ?? null, tls.cert ?? null) : credentials.createInsecure();
  const client = new Client(address, security, {
    'grpc.service_config': serviceConfigOf(services),
    'grpc.service_config_disable_resolution': 1,
    'grpc.keepalive_time_ms': options.keepaliveTimeMs ?? 30_000,
    'grpc.keepalive_timeout_ms': options.keepaliveTimeoutMs ?? 10_000,
    'grpc.keepalive_permit_without_calls': 1,
    'grpc.max_receive_message_length': options.maxResponseBytes ?? 16 * 1_024 * 1_024,
  });
  const defaults = { unaryDeadlineMs: options.deadlineMs ?? 5_000, metadata: options.metadata ?? {}, token: options.token };
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
