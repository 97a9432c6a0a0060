/** One service through the three protocols its port speaks, and a failure with all that the contract says about it. */
import { create, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import { type Client, Code, ConnectError, createClient, type Transport } from '@connectrpc/connect';
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import { BadRequestSchema, ErrorInfoSchema, ResourceInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.js';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { SuppressionService } from '../../gen/messaging/v1/suppression_service_pb.js';

export interface Services {
  readonly transport: Transport;
  readonly messages: Client<typeof MessageService>;
  readonly conversations: Client<typeof ConversationService>;
  readonly providerEvents: Client<typeof ProviderEventService>;
  readonly suppressions: Client<typeof SuppressionService>;
}

export const protocols = ['gRPC', 'gRPC-Web', 'Connect', 'Connect with JSON'] as const;
export type ProtocolName = (typeof protocols)[number];

const DEADLINE_MS = 30_000;

const transports: Record<ProtocolName, (baseUrl: string) => Transport> = {
  gRPC: (baseUrl) => createGrpcTransport({ baseUrl, defaultTimeoutMs: DEADLINE_MS }),
  'gRPC-Web': (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: '2', defaultTimeoutMs: DEADLINE_MS }),
  Connect: (baseUrl) => createConnectTransport({ baseUrl, httpVersion: '2', defaultTimeoutMs: DEADLINE_MS }),
  'Connect with JSON': (baseUrl) =>
    createConnectTransport({ baseUrl, httpVersion: '2', useBinaryFormat: false, defaultTimeoutMs: DEADLINE_MS }),
};

export function servicesOf({ grpcPort }: { readonly grpcPort: number }, protocol: ProtocolName = 'gRPC'): Services {
  const transport = transports[protocol](`http://127.0.0.1:${grpcPort}`);
  return {
    transport,
    messages: createClient(MessageService, transport),
    conversations: createClient(ConversationService, transport),
    providerEvents: createClient(ProviderEventService, transport),
    suppressions: createClient(SuppressionService, transport),
  };
}

export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly reason: string | undefined;
  readonly domain: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  /** Fields named by BadRequest. */
  readonly fields: readonly string[];
  readonly retryAfterMs: number | undefined;
  readonly resource: { readonly type: string; readonly name: string } | undefined;
}

export function describeFailure(error: ConnectError): Failure {
  const detail = <Desc extends DescMessage>(schema: Desc): MessageShape<Desc> | undefined => error.findDetails(schema)[0];
  const info = detail(ErrorInfoSchema);
  const resource = detail(ResourceInfoSchema);
  const delay = detail(RetryInfoSchema)?.retryDelay;
  return {
    code: Code[error.code],
    message: error.rawMessage,
    reason: info?.reason,
    domain: info?.domain,
    metadata: info?.metadata ?? {},
    fields: (detail(BadRequestSchema) ?? create(BadRequestSchema)).fieldViolations.map(({ field }) => field),
    retryAfterMs: delay && durationMs(delay),
    resource: resource && { type: resource.resourceType, name: resource.resourceName },
  };
}

/** How a call failed. Throws when it did not. */
export async function failure(call: Promise<unknown>): Promise<Failure> {
  try {
    await call;
  } catch (error) {
    if (error instanceof ConnectError) return describeFailure(error);
    throw error;
  }
  throw new Error('the call succeeded');
}
