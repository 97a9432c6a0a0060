/** What providers post. Answers: 2xx is stored, 403 forged and not stored, 503 not stored and worth another try, since the fault is ours. */
import type { IncomingMessage } from 'node:http';
import type { SignedWebhook, WebhookVerifier } from '../domain/webhook-ports.ts';
import { WEBHOOK_PATHS, type WebhookEndpoint, type WebhookState, webhookEndpoints } from '../domain/webhook-request.ts';
import type { createIngestWebhook } from '../services/ingest-webhook.ts';
import type { DeliveryMetrics } from '../telemetry/delivery-metrics.ts';
import type { Log } from '../telemetry/log.ts';
import { continueTrace } from '../telemetry/trace.ts';
import { type Answer, json, type PostRoute } from './http-server.ts';
import { type Body, readBody } from './read-body.ts';

export interface WebhookRoutesOptions {
  /** Of one body; endpoints that get small ones have limits of their own below it. */
  readonly maxBytes: number;
  readonly verify: WebhookVerifier;
  readonly ingest: ReturnType<typeof createIngestWebhook>;
  readonly log: Log;
  readonly metrics: Pick<DeliveryMetrics, 'webhookRequest'>;
  /** Longest time that a body may take. Default 20,000. */
  readonly bodyTimeoutMs?: number;
}

const BODY_TIMEOUT_MS = 20_000;
/** Of one pool, memory for the bodies of all that are read at once, in largest bodies. */
const MAX_BODIES_IN_MEMORY = 4;
const RETRY_AFTER_SECONDS = 5;

const MEBIBYTE = 1_048_576;
/** Far above what providers send: whoever posts makes us digest the body before anything is known about its signature. */
const ENDPOINT_MAX_BYTES = {
  twilio_status: MEBIBYTE,
  twilio_inbound: MEBIBYTE,
  // Batches end at 768 KB.
  sendgrid_events: 4 * MEBIBYTE,
  sendgrid_inbound: Number.POSITIVE_INFINITY,
} satisfies Record<WebhookEndpoint, number>;

/** Endpoints that share memory and places. Mails, the largest bodies by far, have their own: the others must not wait for them. */
type Pool = 'mails' | 'others';

const POOLS = {
  twilio_status: 'others',
  twilio_inbound: 'others',
  sendgrid_events: 'others',
  sendgrid_inbound: 'mails',
} satisfies Record<WebhookEndpoint, Pool>;

/** Together fewer than the server has connections, so that probes always find one. */
const MAX_AT_ONCE = { mails: 64, others: 128 } satisfies Record<Pool, number>;

const empty = (status: number): Answer => ({ status, contentType: 'text/plain; charset=utf-8', text: '' });

const ACCEPTED = {
  twilio_status: empty(204),
  // TwiML that says nothing: Twilio answers the sender with what else is in it.
  twilio_inbound: { status: 200, contentType: 'text/xml; charset=utf-8', text: '<Response/>' },
  sendgrid_events: empty(200),
  sendgrid_inbound: empty(200),
} satisfies Record<WebhookEndpoint, Answer>;

const CLOSE = { connection: 'close' };
const forbidden = (): Answer => json(403, { error: 'forbidden' });
const unavailable = (headers = {}): Answer =>
  json(503, { error: 'unavailable' }, { 'retry-after': String(RETRY_AFTER_SECONDS), ...headers });

const RESULTS = {
  received: 'applied',
  processed: 'applied',
  unmatched: 'unmatched',
  quarantined: 'quarantined',
} satisfies Record<WebhookState, Parameters<DeliveryMetrics['webhookRequest']>[1]>;

function createPost(options: WebhookRoutesOptions) {
  const { verify, ingest, log, metrics } = options;
  const maxBytesOf = (endpoint: WebhookEndpoint): number => Math.min(options.maxBytes, ENDPOINT_MAX_BYTES[endpoint]);
  const largestOf = (pool: Pool): number => Math.max(...webhookEndpoints.filter((each) => POOLS[each] === pool).map(maxBytesOf));
  const roomOf = (pool: Pool) => ({
    running: 0,
    bytes: 0,
    maxRunning: MAX_AT_ONCE[pool],
    maxBytes: MAX_BODIES_IN_MEMORY * largestOf(pool),
  });
  const rooms = { mails: roomOf('mails'), others: roomOf('others') } satisfies Record<Pool, object>;

  async function answerTo(webhook: SignedWebhook): Promise<Answer> {
    const { endpoint, path, contentType, body } = webhook;
    const authenticity = await verify(webhook);
    if (authenticity === 'forged') {
      metrics.webhookRequest(endpoint, 'forbidden');
      return forbidden();
    }
    if (authenticity === 'unverifiable') {
      metrics.webhookRequest(endpoint, 'failed');
      return unavailable();
    }
    try {
      const { state } = await ingest({ endpoint, path, contentType, body });
      metrics.webhookRequest(endpoint, RESULTS[state]);
      return ACCEPTED[endpoint];
    } catch (error) {
      metrics.webhookRequest(endpoint, 'failed');
      log.error({ err: error, endpoint }, 'webhook request failed');
      return unavailable();
    }
  }

  function answerWithout(endpoint: WebhookEndpoint, kind: Exclude<Body['kind'], 'whole'>): Answer | undefined {
    switch (kind) {
      case 'gone':
        return undefined;
      case 'too_large':
        metrics.webhookRequest(endpoint, 'too_large');
        return json(413, { error: `the body is larger than ${maxBytesOf(endpoint)} bytes` }, CLOSE);
      // Of a slow body too: SendGrid drops a mail for good on 4xx.
      case 'slow':
      case 'no_room':
        metrics.webhookRequest(endpoint, 'failed');
        return unavailable(CLOSE);
      default:
        return kind satisfies never;
    }
  }

  async function read(endpoint: WebhookEndpoint, request: IncomingMessage): Promise<Answer | undefined> {
    const room = rooms[POOLS[endpoint]];
    let taken = 0;
    const take = (bytes: number): boolean => {
      if (room.bytes + bytes > room.maxBytes) return false;
      room.bytes += bytes;
      taken += bytes;
      return true;
    };
    try {
      const timeoutMs = options.bodyTimeoutMs ?? BODY_TIMEOUT_MS;
      const body = await readBody(request, { maxBytes: maxBytesOf(endpoint), timeoutMs, take });
      if (body.kind !== 'whole') return answerWithout(endpoint, body.kind);
      const { url: path = '', headers } = request;
      return await answerTo({ endpoint, path, headers, contentType: headers['content-type'] ?? '', body: body.bytes });
    } finally {
      room.bytes -= taken;
    }
  }

  return async (endpoint: WebhookEndpoint, request: IncomingMessage): Promise<Answer | undefined> => {
    const encoding = request.headers['content-encoding'] ?? 'identity';
    if (encoding.toLowerCase() !== 'identity') return json(415, { error: 'the body must not be compressed' }, CLOSE);
    const room = rooms[POOLS[endpoint]];
    if (room.running >= room.maxRunning) return answerWithout(endpoint, 'no_room');
    room.running += 1;
    try {
      return await read(endpoint, request);
    } finally {
      room.running -= 1;
    }
  };
}

/** A span for the request, in a trace of its own: whoever posts has no say in what is recorded. */
function inSpan(path: string, work: () => Promise<Answer | undefined>): Promise<Answer | undefined> {
  const attributes = { 'http.request.method': 'POST', 'http.route': path };
  return continueTrace({ name: `POST ${path}`, kind: 'server', attributes, parent: '' }, async (span) => {
    const answer = await work();
    if (answer !== undefined) span.set('http.response.status_code', answer.status);
    if (answer !== undefined && answer.status >= 500) span.set('error.type', String(answer.status));
    return answer;
  });
}

/** Routes for the HTTP server, by path. */
export function webhookRoutes(options: WebhookRoutesOptions): ReadonlyMap<string, PostRoute> {
  const post = createPost(options);
  return new Map(
    webhookEndpoints.map((endpoint): [string, PostRoute] => {
      const path = WEBHOOK_PATHS[endpoint];
      return [path, (request) => inSpan(path, () => post(endpoint, request))];
    }),
  );
}
