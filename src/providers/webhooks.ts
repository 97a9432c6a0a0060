/** Who checks and who reads the requests of each endpoint. */
import type { WebhookContent, WebhookEvent, WebhookParser, WebhookVerifier } from '../domain/webhook-ports.ts';
import { providerOfEndpoint, type WebhookEndpoint } from '../domain/webhook-request.ts';
import { parseSendgridInbound } from './sendgrid-inbound.ts';
import { parseSendgridEvents, type SendgridWebhookOptions, sendgridVerifier } from './sendgrid-webhook.ts';
import { parseTwilioInbound, parseTwilioStatus, type TwilioWebhookOptions, twilioVerifier } from './twilio-webhook.ts';

export interface WebhookVerifierOptions {
  readonly twilio: TwilioWebhookOptions;
  readonly sendgrid: SendgridWebhookOptions;
}

export function webhookVerifier(options: WebhookVerifierOptions): WebhookVerifier {
  const verifiers = { twilio: twilioVerifier(options.twilio), sendgrid: sendgridVerifier(options.sendgrid) };
  return (webhook) => verifiers[providerOfEndpoint(webhook.endpoint)](webhook);
}

const PARSERS = {
  twilio_status: parseTwilioStatus,
  twilio_inbound: parseTwilioInbound,
  sendgrid_events: parseSendgridEvents,
  sendgrid_inbound: parseSendgridInbound,
} satisfies Record<WebhookEndpoint, (webhook: WebhookContent) => readonly WebhookEvent[] | Promise<readonly WebhookEvent[]>>;

export const parseWebhook: WebhookParser = async (webhook) => PARSERS[webhook.endpoint](webhook);
