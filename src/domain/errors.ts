/**
 * Every way a request can fail that the caller can do something about. Names are the lower-case values of `ErrorReason` in the
 * contract; rpc/errors.ts gives each its gRPC code and does not compile without it.
 */
export type ErrorCode =
  | 'field_invalid'
  | 'address_invalid'
  | 'page_token_invalid'
  | 'resume_token_invalid'
  | 'resume_token_expired'
  | 'message_not_found'
  | 'conversation_not_found'
  | 'webhook_request_not_found'
  | 'request_id_reused'
  | 'etag_mismatch'
  | 'sender_not_allowed'
  | 'recipient_opted_out'
  | 'status_forbids'
  | 'conversation_closed'
  | 'participants_mismatch'
  | 'not_retryable'
  | 'conversation_exists'
  | 'storage_unavailable'
  | 'too_many_streams'
  | 'draining'
  | 'deadline_exceeded'
  | 'cache_off'
  | 'cache_unavailable';

export interface FieldViolation {
  /** Path in the request as the contract spells it, e.g. `message.to_address` or `ids[3]`. */
  readonly field: string;
  /** What is wrong, in a sentence that may be shown to a person. Never repeats the value. */
  readonly description: string;
}

export interface ErrorDetails {
  /** Facts for machines; keys as documented beside each `ErrorReason`. Never a message body. */
  readonly metadata?: Readonly<Record<string, string>>;
  readonly fields?: readonly FieldViolation[];
  /** What kept the service from answering; for logs only. */
  readonly cause?: unknown;
}

/** An expected failure. Anything else that is thrown is a bug and reaches the caller as INTERNAL. */
export class DomainError extends Error {
  override readonly name = 'DomainError';
  readonly code: ErrorCode;
  readonly metadata: Readonly<Record<string, string>>;
  readonly fields: readonly FieldViolation[];

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.metadata = details.metadata ?? {};
    this.fields = details.fields ?? [];
  }
}

/** A value of the request that breaks a rule. */
export function fieldInvalid(field: string, description: string): DomainError {
  return new DomainError('field_invalid', `${field}: ${description}`, { fields: [{ field, description }] });
}

/** Of a watch. */
export function resumeTokenInvalid(description: string): DomainError {
  return new DomainError('resume_token_invalid', `resume_token ${description}`, { fields: [{ field: 'resume_token', description }] });
}

export function messageNotFound(ids: readonly string[]): DomainError {
  return notFound('message_not_found', 'message', ids);
}

export function conversationNotFound(ids: readonly string[]): DomainError {
  return notFound('conversation_not_found', 'conversation', ids);
}

export function conversationClosed(id: string): DomainError {
  return new DomainError('conversation_closed', `conversation ${id} is closed`, { metadata: { conversation_id: id } });
}

/** `conversationId`: the one that is not between these addresses, or that the parent is in. */
export function participantsMismatch(message: string, conversationId: string): DomainError {
  return new DomainError('participants_mismatch', message, { metadata: { conversation_id: conversationId } });
}

export function webhookRequestNotFound(id: string): DomainError {
  return new DomainError('webhook_request_not_found', `webhook request ${id} does not exist`, { metadata: { id } });
}

/** The metadata name all. */
const MAX_IDS_IN_TEXT = 3;

function notFound(code: 'message_not_found' | 'conversation_not_found', noun: string, ids: readonly string[]): DomainError {
  const metadata = ids.length === 1 ? { id: ids.join() } : { ids: ids.join(',') };
  const others = ids.length > MAX_IDS_IN_TEXT ? ` and ${ids.length - MAX_IDS_IN_TEXT} more` : '';
  const named = `${ids.slice(0, MAX_IDS_IN_TEXT).join(', ')}${others}`;
  return new DomainError(code, ids.length === 1 ? `${noun} ${named} does not exist` : `${noun}s ${named} do not exist`, { metadata });
}
