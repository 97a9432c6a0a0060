/** Failures as callers see them: one gRPC code per reason, and the google.rpc details that help. */
import type { DescMessage, MessageInitShape } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { BadRequestSchema, ErrorInfoSchema, ResourceInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.js';
import { DomainError, type ErrorCode, type FieldViolation } from '../domain/errors.ts';

/** Reasons for failures that no use case knows of: the transport's own. */
type TransportReason = 'request_malformed' | 'message_too_large' | 'method_unimplemented' | 'internal' | 'canceled';
export type Reason = ErrorCode | TransportReason;

const GRPC_CODE = {
  field_invalid: Code.InvalidArgument,
  address_invalid: Code.InvalidArgument,
  page_token_invalid: Code.InvalidArgument,
  message_not_found: Code.NotFound,
  conversation_not_found: Code.NotFound,
  request_id_reused: Code.AlreadyExists,
  conversation_exists: Code.AlreadyExists,
  etag_mismatch: Code.Aborted,
  sender_not_allowed: Code.FailedPrecondition,
  status_forbids: Code.FailedPrecondition,
  conversation_closed: Code.FailedPrecondition,
  participants_mismatch: Code.FailedPrecondition,
  not_retryable: Code.FailedPrecondition,
  storage_unavailable: Code.Unavailable,
  draining: Code.Unavailable,
  deadline_exceeded: Code.DeadlineExceeded,
  request_malformed: Code.InvalidArgument,
  message_too_large: Code.ResourceExhausted,
  method_unimplemented: Code.Unimplemented,
  internal: Code.Internal,
  canceled: Code.Canceled,
} satisfies Record<Reason, Code>;

/** How long a caller should wait before it tries again; only for failures that pass by themselves. */
const RETRY_AFTER_MS: Partial<Record<Reason, number>> = { storage_unavailable: 1_000, draining: 100 };

const RESOURCE: Partial<Record<Reason, string>> = {
  message_not_found: 'messaging.v1.Message',
  conversation_not_found: 'messaging.v1.Conversation',
};

const DOMAIN = 'messaging.v1';

type Detail = { readonly desc: DescMessage; readonly value: MessageInitShape<DescMessage> };

const detail = <Desc extends DescMessage>(desc: Desc, value: MessageInitShape<Desc>): Detail => ({ desc, value });

interface Facts {
  readonly metadata: Readonly<Record<string, string>>;
  readonly fields: readonly FieldViolation[];
}

function detailsOf(reason: Reason, message: string, { metadata, fields }: Facts): Detail[] {
  const details = [detail(ErrorInfoSchema, { reason: reason.toUpperCase(), domain: DOMAIN, metadata: { ...metadata } })];
  if (fields.length > 0) details.push(detail(BadRequestSchema, { fieldViolations: fields.map((violation) => ({ ...violation })) }));
  const waitMs = RETRY_AFTER_MS[reason];
  if (waitMs !== undefined) {
    const retryDelay = { seconds: BigInt(Math.trunc(waitMs / 1_000)), nanos: (waitMs % 1_000) * 1_000_000 };
    details.push(detail(RetryInfoSchema, { retryDelay }));
  }
  const resourceType = RESOURCE[reason];
  if (resourceType !== undefined) {
    const resourceName = metadata['id'] ?? metadata['ids'] ?? '';
    details.push(detail(ResourceInfoSchema, { resourceType, resourceName, description: message }));
  }
  return details;
}

/** An error with everything the contract promises for its reason. */
export function errorWith(reason: Reason, message: string, facts: Partial<Facts> = {}): ConnectError {
  const details = detailsOf(reason, message, { metadata: facts.metadata ?? {}, fields: facts.fields ?? [] });
  return new ConnectError(message, GRPC_CODE[reason], undefined, details);
}

/** What the transport raises without knowing the contract's reasons. */
const TRANSPORT_REASON: Partial<Record<Code, Reason>> = {
  [Code.InvalidArgument]: 'request_malformed',
  [Code.ResourceExhausted]: 'message_too_large',
  [Code.Unimplemented]: 'method_unimplemented',
  [Code.DeadlineExceeded]: 'deadline_exceeded',
  [Code.Unavailable]: 'draining',
  [Code.Canceled]: 'canceled',
  [Code.Internal]: 'internal',
};

/** The transport's error with the details it lacks. */
export function withReason(code: Code, message: string): ConnectError {
  const reason = TRANSPORT_REASON[code] ?? 'internal';
  return new ConnectError(message, code, undefined, detailsOf(reason, message, { metadata: {}, fields: [] }));
}

/** True for a failure that is a bug of this service. */
export function isBug(error: unknown): boolean {
  return !(error instanceof DomainError) && !(error instanceof ConnectError);
}

/** What the caller is told; of a bug nothing of the inside. */
export function toConnectError(error: unknown): ConnectError {
  if (error instanceof DomainError) return errorWith(error.code, error.message, error);
  if (error instanceof ConnectError) return error.details.length > 0 ? error : withReason(error.code, error.rawMessage);
  return errorWith('internal', 'internal error');
}
