import { fromBinary } from '@bufbuild/protobuf';
import { type Any, anyUnpack, durationMs } from '@bufbuild/protobuf/wkt';
import { type ServiceError, status } from '@grpc/grpc-js';
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.js';
import { StatusSchema } from '../../gen/google/rpc/status_pb.js';

export interface FieldViolation {
  /** Path in the request, e.g. `message.to_address`. */
  readonly field: string;
  readonly description: string;
}

/** What the service says about a failure beside its code. */
interface ErrorDetails {
  /** Name of an `ErrorReason` without its prefix, e.g. `MESSAGE_NOT_FOUND`; empty when the failure did not come from the service. */
  readonly reason: string;
  /** Facts for machines; keys as documented beside each `ErrorReason`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Empty unless the code is INVALID_ARGUMENT. */
  readonly fieldViolations: readonly FieldViolation[];
  /** When to try again at the earliest; undefined: the service does not say. */
  readonly retryAfterMs: number | undefined;
}

/** A call that failed: refused by the service, late, canceled, or never connected. `cause` is what the transport reported. */
export class MessagingError extends Error implements ErrorDetails {
  override readonly name = 'MessagingError';
  readonly code: status;
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly fieldViolations: readonly FieldViolation[];
  readonly retryAfterMs: number | undefined;

  constructor(code: status, message: string, details: ErrorDetails, cause: unknown) {
    super(`${status[code]}: ${message}`, { cause });
    this.code = code;
    this.reason = details.reason;
    this.metadata = details.metadata;
    this.fieldViolations = details.fieldViolations;
    this.retryAfterMs = details.retryAfterMs;
  }
}

const NO_DETAILS: ErrorDetails = { reason: '', metadata: {}, fieldViolations: [], retryAfterMs: undefined };

function readDetails(details: readonly Any[]): ErrorDetails {
  let read = NO_DETAILS;
  for (const detail of details) {
    const info = anyUnpack(detail, ErrorInfoSchema);
    if (info !== undefined) read = { ...read, reason: info.reason, metadata: info.metadata };
    const badRequest = anyUnpack(detail, BadRequestSchema);
    if (badRequest !== undefined) {
      read = { ...read, fieldViolations: badRequest.fieldViolations.map(({ field, description }) => ({ field, description })) };
    }
    const retry = anyUnpack(detail, RetryInfoSchema);
    if (retry?.retryDelay !== undefined) read = { ...read, retryAfterMs: durationMs(retry.retryDelay) };
  }
  return read;
}

/** A proxy on the way may have cut the details off or written its own: then the code alone has to do. */
function detailsOf(error: ServiceError): ErrorDetails {
  const [bytes] = error.metadata.get('grpc-status-details-bin');
  if (!(bytes instanceof Uint8Array)) return NO_DETAILS;
  try {
    return readDetails(fromBinary(StatusSchema, bytes).details);
  } catch {
    return NO_DETAILS;
  }
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && 'details' in error && 'metadata' in error;
}

/** What went wrong in a call, as a MessagingError. Anything that is not a gRPC status is returned as it is. */
export function toMessagingError(error: unknown): unknown {
  return isServiceError(error) ? new MessagingError(error.code, error.details, detailsOf(error), error) : error;
}

/** The source of tokens failed; nothing was asked. */
export function noTokenError(cause: unknown): MessagingError {
  return new MessagingError(status.UNAUTHENTICATED, 'there is no token: its source failed', NO_DETAILS, cause);
}

/** The caller's signal fired before or during the call. */
export function canceledError(signal: AbortSignal): MessagingError {
  return new MessagingError(status.CANCELLED, 'the call was aborted by its signal', NO_DETAILS, signal.reason);
}
