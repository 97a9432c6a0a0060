/** Random input for every method and every webhook, and what must hold for each: a valid answer, never a bug. */
import type { DescMethod, DescService } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { getExpectedTwilioSignature } from 'twilio/lib/webhooks/webhooks.js';
import { CacheService } from '../../gen/messaging/v1/cache_service_pb.js';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { SuppressionService } from '../../gen/messaging/v1/suppression_service_pb.js';
import { WEBHOOK_PATHS, type WebhookEndpoint } from '../../src/domain/webhook-request.ts';
import { parseWebhook } from '../../src/providers/webhooks.ts';
import { anyBytes } from './any-bytes.ts';
import { type AnyWebhook, anyWebhook } from './any-webhook.ts';
import { frame, type RawClient } from './raw-calls.ts';
import { authToken, publicUrl, type SigningKey, sendgridPost } from './signed-webhooks.ts';

const services: readonly DescService[] = [MessageService, ConversationService, ProviderEventService, SuppressionService, CacheService];
export const fuzzedMethods: readonly DescMethod[] = services.flatMap((service) => service.methods);

/** UNKNOWN, INTERNAL, UNAVAILABLE and DATA_LOSS are bugs, or say so; of a unary call a deadline of 30 s is one too. */
const BUGS: ReadonlySet<number> = new Set([2, 13, 14, 15]);
const DEADLINE_EXCEEDED = 4;
/** Sent together, in one run of a property: what one call waits for, the others need not. */
export const AT_ONCE = 20;
/** A stream has this long to show that it begins. */
const STREAM_TIMEOUT = '100m';

/** The error shows the one input that it is about; a batch would take an hour to be made smaller. */
const NO_SHRINKING = { endOnFailure: true, verbose: 0 } as const;
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

export interface Extent {
  /** Of AT_ONCE inputs each. */
  readonly runs: number;
  readonly seed: number;
}

async function statusOf(raw: RawClient, method: DescMethod, message: Uint8Array): Promise<number> {
  const isStream = method.methodKind !== 'unary';
  const { status, headers, trailers, rstCode } = await raw.call({
    path: `/${method.parent.typeName}/${method.name}`,
    headers: { 'content-type': 'application/grpc', te: 'trailers', ...(isStream && { 'grpc-timeout': STREAM_TIMEOUT }) },
    body: frame(message),
  });
  const told = headers['grpc-status'] ?? trailers['grpc-status'];
  if (status !== 200 || told === undefined || !/^\d{1,2}$/.test(String(told)) || Number(told) > 16) {
    throw new Error(`no gRPC status: HTTP ${status}, grpc-status ${String(told)}, reset with ${rstCode}`);
  }
  return Number(told);
}

/** Throws with the input that was answered in a wrong way. */
export async function fuzzMethod(raw: RawClient, method: DescMethod, ids: () => readonly string[], { runs, seed }: Extent): Promise<void> {
  const batch = fc.array(anyBytes(method.input, ids), { minLength: AT_ONCE, maxLength: AT_ONCE });
  const property = fc.asyncProperty(batch, async (messages) => {
    await Promise.all(
      messages.map(async (message) => {
        const status = await statusOf(raw, method, message);
        const isLate = status === DEADLINE_EXCEEDED && method.methodKind === 'unary';
        if (BUGS.has(status) || isLate) throw new Error(`${method.name} answered with status ${status} to ${hex(message)}`);
      }),
    );
  });
  await fc.assert(property, { numRuns: runs, seed, ...NO_SHRINKING });
}

export async function fuzzParser(endpoint: WebhookEndpoint, { runs, seed }: Extent): Promise<void> {
  const property = fc.asyncProperty(fc.array(anyWebhook(endpoint), { minLength: AT_ONCE, maxLength: AT_ONCE }), async (webhooks) => {
    for (const webhook of webhooks) {
      for (const read of await parseWebhook(webhook)) {
        if (!['report', 'inbound', 'unreadable'].includes(read.kind)) throw new Error(`read as ${read.kind}`);
        const words = JSON.stringify(read);
        // PostgreSQL has no such characters.
        if (words.includes('\\u0000') || !words.isWellFormed()) throw new Error(`characters that cannot be stored: ${words}`);
      }
    }
  });
  await fc.assert(property, { numRuns: runs, seed, ...NO_SHRINKING });
}

function signatureOf({ endpoint, path, body, contentType }: AnyWebhook, key: SigningKey): Readonly<Record<string, string>> {
  if (endpoint === 'sendgrid_events' || endpoint === 'sendgrid_inbound') {
    return sendgridPost({ endpoint, contentType, body, key, at: new Date() }).headers;
  }
  const fields: Record<string, string | string[]> = {};
  const parameters = new URLSearchParams(body.toString());
  for (const name of parameters.keys()) {
    const values = parameters.getAll(name);
    fields[name] = values.length === 1 ? (values[0] ?? '') : values;
  }
  return { 'x-twilio-signature': getExpectedTwilioSignature(authToken, `${publicUrl}${path}`, fields) };
}

/** Stored, whatever is in it; or refused for what it is. 503 would make providers repeat it. */
const SIGNED_STATUSES: ReadonlySet<number> = new Set([200, 204, 403, 413, 415]);

async function post(httpPort: number, webhook: AnyWebhook, key: SigningKey | undefined): Promise<number> {
  const { path, contentType, body } = webhook;
  const signature = key === undefined ? {} : signatureOf(webhook, key);
  const answer = await fetch(`http://127.0.0.1:${httpPort}${path}`, {
    method: 'POST',
    body: new Uint8Array(body),
    headers: { 'content-type': contentType, ...signature },
  });
  await answer.arrayBuffer();
  return answer.status;
}

export interface FuzzedPort {
  readonly httpPort: number;
  readonly key: SigningKey;
  /** Told of each signed one that was taken. */
  onTaken(): void;
}

/** Signed, so that they reach the parsers and the database, and as they come from anybody. */
export async function fuzzEndpoint(
  { httpPort, key, onTaken }: FuzzedPort,
  endpoint: WebhookEndpoint,
  { runs, seed }: Extent,
): Promise<void> {
  const property = fc.asyncProperty(fc.array(anyWebhook(endpoint), { minLength: AT_ONCE, maxLength: AT_ONCE }), async (webhooks) => {
    await Promise.all(
      webhooks.map(async (webhook, index) => {
        const isSigned = index % 4 !== 0;
        const status = await post(httpPort, webhook, isSigned ? key : undefined);
        if (isSigned && status < 300) onTaken();
        const isRight = isSigned ? SIGNED_STATUSES.has(status) : status === 403;
        if (!isRight)
          throw new Error(
            `${WEBHOOK_PATHS[endpoint]} answered ${status} to a ${isSigned ? 'signed' : 'forged'} ${webhook.contentType} of ${hex(webhook.body)}`,
          );
      }),
    );
  });
  await fc.assert(property, { numRuns: runs, seed, ...NO_SHRINKING });
}
