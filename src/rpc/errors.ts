/** Failures as callers see them: one gRPC code per reason, and the google.rpc details that help. */
import type { DescMessage, MessageInitShape } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { BadRequestSchema, ErrorInfoSchema, ResourceInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.js';
import { DomainError, type ErrorCode, type FieldViolation } from '../domain/errors.ts';
import { undecodedFields, withoutValue } from './decode-error.ts';

/** Why a call is not let in. */
type AccessReason = 'credentials_invalid' | 'permission_missing' | 'rate_limited' | 'identity_unavailable';
/** Reasons for failures that no use case knows of: the transport's own. */
type TransportReason = 'request_malformed' | 'message_too_large' | 'method_unimplemented' | 'internal' | 'canceled' | AccessReason;
export type Reason = ErrorCode | TransportReason;

const GRPC_CODE = {
  field_invalid: Code.InvalidArgument,
  address_invalid: Code.InvalidArgument,
  page_token_invalid: Code.InvalidArgument,
  resume_token_invalid: Code.InvalidArgument,
  resume_token_expired: Code.OutOfRange,
  message_not_found: Code.NotFound,
  conversation_not_found: Code.NotFound,
  webhook_request_not_found: Code.NotFound,
  request_id_reused: Code.AlreadyExists,
  conversation_exists: Code.AlreadyExists,
  etag_mismatch: Code.Aborted,
  sender_not_allowed: Code.FailedPrecondition,
  recipient_opted_out: Code.FailedPrecondition,
  status_forbids: Code.FailedPrecondition,
  conversation_closed: Code.FailedPrecondition,
  participants_mismatch: Code.FailedPrecondition,
  not_retryable: Code.FailedPrecondition,
  storage_unavailable: Code.Unavailable,
  too_many_streams: Code.ResourceExhausted,
  draining: Code.Unavailable,
  deadline_exceeded: Code.DeadlineExceeded,
  cache_off: Code.FailedPrecondition,
  cache_unavailable: Code.Unavailable,
  credentials_invalid: Code.Unauthenticated,
  permission_missing: Code.PermissionDenied,
  rate_limited: Code.ResourceExhausted,
  identity_unavailable: Code.Unavailable,
  request_malformed: Code.InvalidArgument,
  message_too_large: Code.ResourceExhausted,
  method_unimplemented: Code.Unimplemented,
  internal: Code.Internal,
  canceled: Code.Canceled,
} satisfies Record<Reason, Code>;

/** How long a caller should wait before it tries again; only for failures that pass by themselves. */
const RETRY_AFTER_MS: Partial<Record<Reason, number>> = {
  storage_unavailable: 1_000,
  too_many_streams: 1_000,
  draining: 100,
  cache_unavailable: 1_000,
  identity_unavailable: 1_000,
};

const RESOURCE: Partial<Record<Reason, string>> = {
  message_not_found: 'messaging.v1.Message',
  conversation_not_found: 'messaging.v1.Conversation',
  webhook_request_not_found: 'messaging.v1.WebhookRequest',
};

const DOMAIN = 'messaging.v1';

/** Clients take no more than 8 KiB of trailers for granted, and details are written there in base64. */
const MAX_VIOLATIONS = 20;
const MAX_FIELD_CHARACTERS = 120;
const MAX_MESSAGE_CHARACTERS = 500;

/** Half a surrogate pair cannot be encoded, and a status that cannot be encoded reaches nobody. */
const cut = (text: string, characters: number): string => text.slice(0, characters).toWellFormed();

type Detail = { readonly desc: DescMessage; readonly value: MessageInitShape<DescMessage> };

const detail = <Desc extends DescMessage>(desc: Desc, value: MessageInitShape<Desc>): Detail => ({ desc, value });

interface Facts {
  readonly metadata: Readonly<Record<string, string>>;
  readonly fields: readonly FieldViolation[];
  /** When it is known; otherwise what is usual for the reason. */
  readonly retryAfterMs: number | undefined;
}

function detailsOf(reason: Reason, message: string, { metadata, fields, retryAfterMs }: Facts): Detail[] {
  const details = [detail(ErrorInfoSchema, { reason: reason.toUpperCase(), domain: DOMAIN, metadata: { ...metadata } })];
  if (fields.length > 0) {
    const fieldViolations = fields
      .slice(0, MAX_VIOLATIONS)
      .map(({ field, description }) => ({ field: cut(field, MAX_FIELD_CHARACTERS), description }));
    details.push(detail(BadRequestSchema, { fieldViolations }));
  }
  const waitMs = retryAfterMs ?? RETRY_AFTER_MS[reason];
  if (waitMs !== undefined) {
    const retryDelay = { seconds: BigInt(Math.trunc(waitMs / 1_000)), nanos: (waitMs % 1_000) * 1_000_000 };
    details.push(detail(RetryInfoSchema, { retryDelay }));
  }
  const resourceType = RESOURCE[reason];
  const resourceName = metadata['id'];
  if (resourceType !== undefined && resourceName !== undefined) {
    details.push(detail(ResourceInfoSchema, { resourceType, resourceName, description: message }));
  }
  return details;
}

/** An error with everything the contract promises for its reason. */
export function errorWith(reason: Reason, text: string, facts: Partial<Facts> = {}): ConnectError {
  const message = cut(text, MAX_MESSAGE_CHARACTERS);
  const details = detailsOf(reason, message, { metadata: {}, fields: [], retryAfterMs: undefined, ...facts });
  return new ConnectError(message, GRPC_CODE[reason], undefined, details);
}

/** What the transport says of a message above its limits, in its own words. */
const TOO_LARGE = /(read|write)MaxBytes (\d+)/;
/**
 * An error that the transport raised by itself, with the code and the details that the contract promises. Undefined for what is none
 * of the contract's business, such as an unknown service asked of grpc.health. `input`: what the
 * method takes.
 */
export function transportError(code: Code, message: string, input: DescMessage): ConnectError | undefined {
  switch (code) {
    case Code.ResourceExhausted: {
      const [, direction, maxBytes] = TOO_LARGE.exec(message) ?? [];
      if (maxBytes === undefined) return undefined;
      return errorWith('message_too_large', `the ${direction === 'read' ? 'request' : 'response'} is larger than ${maxBytes} bytes`);
    }
    case Code.Unimplemented:
      // Two messages where one belongs, or none, says nothing about the method.
      return errorWith(message.startsWith('protocol error') ? 'request_malformed' : 'method_unimplemented', message);
    case Code.DeadlineExceeded:
      return errorWith('deadline_exceeded', message);
    case Code.Unavailable:
      return errorWith('draining', message);
    case Code.Canceled:
    case Code.Aborted:
      return errorWith('canceled', message);
    // What cannot be decoded is INTERNAL to the transport.
    case Code.InvalidArgument:
    case Code.Internal: {
      const fields = undecodedFields(message, input).map((field) => ({ field, description: 'cannot be decoded' }));
      return errorWith('request_malformed', withoutValue(message), { fields });
    }
    default:
      return undefined;
  }
}

/** True for a failure that is a bug of this service. */
export function isBug(error: unknown): boolean {
  return !(error instanceof DomainError) && !(error instanceof ConnectError);
}

/** What the caller is told; of a bug nothing of the inside. */
export function toConnectError(error: unknown, input: DescMessage): ConnectError {
  if (error instanceof DomainError) return errorWith(error.code, error.message, error);
  if (error instanceof ConnectError)
    return error.details.length > 0 ? error : (transportError(error.code, error.rawMessage, input) ?? error);
  return errorWith('internal', 'internal error');
}
