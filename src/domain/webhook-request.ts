import { defineEntity, type InferEntity, p } from '@mikro-orm/core';
import { type Provider, providers } from './message.ts';

export const webhookEndpoints = ['twilio_status', 'twilio_inbound', 'sendgrid_events', 'sendgrid_inbound'] as const;
export type WebhookEndpoint = (typeof webhookEndpoints)[number];

/** Where providers post to, below the public URL. */
export const WEBHOOK_PATHS = {
  twilio_status: '/webhooks/twilio/status',
  twilio_inbound: '/webhooks/twilio/inbound',
  sendgrid_events: '/webhooks/sendgrid/events',
  sendgrid_inbound: '/webhooks/sendgrid/inbound',
} satisfies Record<WebhookEndpoint, string>;

export const providerOfEndpoint = (endpoint: WebhookEndpoint): Provider => (endpoint.startsWith('twilio') ? 'twilio' : 'sendgrid');

/** `unmatched`: tells of a message that is not known. `quarantined`: something in it cannot be processed, and needs a person. */
export const webhookStates = ['received', 'processed', 'unmatched', 'quarantined'] as const;
export type WebhookState = (typeof webhookStates)[number];

/** What became of a request, this time. */
export interface WebhookVerdict {
  readonly state: WebhookState;
  /** In words, without anything of the content; empty when everything was applied. */
  readonly error: string;
}

/** More of a body is not kept. */
export const MAX_STORED_BODY_BYTES = 1_048_576;

const WebhookRequestSchema = defineEntity({
  name: 'WebhookRequest',
  tableName: 'webhook_requests',
  properties: {
    id: p.uuid().primary(),
    endpoint: p.enum(webhookEndpoints),
    provider: p.enum(providers),
    /** With its query, as it came. */
    path: p.text(),
    contentType: p.text(),
    body: p.blob(),
    /** The body had more than is stored; it was processed whole, once. */
    truncated: p.boolean(),
    state: p.enum(webhookStates),
    error: p.text(),
    /** How often it was processed. */
    tries: p.integer(),
    receivedAt: p.datetime(3),
    /** The last time. */
    processedAt: p.datetime(3).nullable(),
  },
});

export type WebhookRequestFields = InferEntity<typeof WebhookRequestSchema>;

/** A request of a provider whose signature was good. */
export class WebhookRequest extends WebhookRequestSchema.class {
  settle({ state, error }: WebhookVerdict, at: Date): void {
    this.state = state;
    this.error = error;
    this.tries += 1;
    this.processedAt = at;
  }
}
WebhookRequestSchema.setClass(WebhookRequest);

/** One that has not been processed yet. */
export function newWebhookRequest(
  fields: Pick<WebhookRequestFields, 'id' | 'endpoint' | 'path' | 'contentType' | 'body' | 'receivedAt'>,
): WebhookRequestFields {
  return {
    ...fields,
    provider: providerOfEndpoint(fields.endpoint),
    body: fields.body.subarray(0, MAX_STORED_BODY_BYTES),
    truncated: fields.body.byteLength > MAX_STORED_BODY_BYTES,
    state: 'received',
    error: '',
    tries: 0,
    processedAt: null,
  };
}
