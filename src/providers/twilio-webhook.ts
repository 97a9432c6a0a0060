/** Twilio's webhooks: signature, status callbacks, inbound messages. */
import { createHash } from 'node:crypto';
import type { JsonObject } from '../domain/json.ts';
import type { Attachment } from '../domain/message.ts';
import { ECHO } from '../domain/provider-client.ts';
import type { SignedWebhook, WebhookContent, WebhookEvent, WebhookVerifier } from '../domain/webhook-ports.ts';
import { bodyOf, echoedOf, LIMITS, lineOf, utf8Of } from './webhook-text.ts';

export interface TwilioWebhookOptions {
  /** Where Twilio reaches this service, without a slash at the end. Empty: nothing can be checked. */
  readonly publicUrl: string;
  /** One, or two while they are being changed. None: nothing can be checked. */
  readonly authTokens: readonly string[];
}

const SIGNATURE_HEADER = 'x-twilio-signature';
const FORM = /^application\/x-www-form-urlencoded\s*(?:;|$)/i;
/** Of a message, by Twilio's own rules. */
const MAX_MEDIA = 10;
const MAX_URL_CHARACTERS = 2_048;
const MAX_CONTENT_TYPE_CHARACTERS = 127;
const MAX_FACT_CHARACTERS = 255;

/** Far more than Twilio sends. Whoever posts makes us sort them before anything is known about the signature. */
const MAX_PARAMETERS = 1_000;

/** A name may come several times; the signature covers all its values. undefined: there are too many. */
function signedParameters(form: string): Record<string, string | string[]> | undefined {
  // Counted before they are decoded. Of empty ones between two `&` nothing is left then, but nobody sends these.
  if (form.split('&', MAX_PARAMETERS + 1).length > MAX_PARAMETERS) return undefined;
  const parameters: Record<string, string | string[]> = Object.create(null);
  for (const [name, value] of new URLSearchParams(form)) {
    const known = parameters[name];
    if (known === undefined) parameters[name] = value;
    else if (Array.isArray(known)) known.push(value);
    else parameters[name] = [known, value];
  }
  return parameters;
}

/** The URL that Twilio signed is the public one, whatever proxies made of it on the way; so it is not read from the request. */
export function twilioVerifier({ publicUrl, authTokens }: TwilioWebhookOptions): WebhookVerifier {
  return async (webhook: SignedWebhook) => {
    const { path, headers } = webhook;
    const signature = headers[SIGNATURE_HEADER];
    if (!URL.canParse(publicUrl) || authTokens.length === 0) return 'unverifiable';
    if (typeof signature !== 'string' || signature === '') return 'forged';
    try {
      const { validateRequest, validateRequestWithBody } = await import('twilio/lib/webhooks/webhooks.js');
      const url = `${publicUrl}${path}`;
      const text = utf8Of(webhook.body);
      // Only of a body that is no form is a digest in the query.
      if (new URL(url).searchParams.has('bodySHA256')) {
        return authTokens.some((token) => validateRequestWithBody(token, signature, url, text)) ? 'authentic' : 'forged';
      }
      const parameters = signedParameters(text);
      if (parameters === undefined) return 'forged';
      return authTokens.some((token) => validateRequest(token, signature, url, parameters)) ? 'authentic' : 'forged';
    } catch {
      return 'forged';
    }
  };
}

const unreadable = (error: string): readonly WebhookEvent[] => [{ kind: 'unreadable', error }];

interface Form {
  /** Empty when the form has none. */
  get(name: string): string;
}

function formOf({ contentType, body }: WebhookContent): Form | undefined {
  if (!FORM.test(contentType)) return undefined;
  const parameters = new URLSearchParams(utf8Of(body));
  return { get: (name) => parameters.get(name) ?? '' };
}

const NO_FORM = 'the content type is not that of a form';

function queryOf(path: string): URLSearchParams {
  const start = path.indexOf('?');
  return new URLSearchParams(start < 0 ? '' : path.slice(start + 1));
}

export function parseTwilioStatus(webhook: WebhookContent): readonly WebhookEvent[] {
  const form = formOf(webhook);
  if (form === undefined) return unreadable(NO_FORM);
  const [id, status, code] = [
    form.get('MessageSid') || form.get('SmsSid'),
    form.get('MessageStatus') || form.get('SmsStatus'),
    form.get('ErrorCode'),
  ];
  if (id === '') return unreadable('it has no MessageSid');
  if (status === '') return unreadable('it has no MessageStatus');
  const query = queryOf(webhook.path);
  const report = {
    provider: 'twilio',
    // Twilio numbers no events. It tells each of these once, and repeats a request that was not answered.
    providerEventId: createHash('sha256').update([id, status, code].join('\n')).digest('base64url'),
    ...echoedOf(query.get(ECHO.messageId), query.get(ECHO.attempt)),
    providerMessageId: lineOf(id, LIMITS.id),
    providerStatus: lineOf(status, LIMITS.status),
    providerCode: lineOf(code, LIMITS.code),
    providerMessage: lineOf(form.get('ErrorMessage'), LIMITS.message),
    occurredAt: undefined,
  } as const;
  return [{ kind: 'report', report }];
}

function mediaOf(form: Form): readonly Attachment[] {
  const count = Math.min(Number.parseInt(form.get('NumMedia') || '0', 10) || 0, MAX_MEDIA);
  return Array.from({ length: Math.max(0, count) }, (_, index) => ({
    url: lineOf(form.get(`MediaUrl${index}`), MAX_URL_CHARACTERS),
    contentType: lineOf(form.get(`MediaContentType${index}`), MAX_CONTENT_TYPE_CHARACTERS),
    filename: '',
    sizeBytes: 0,
    contentId: '',
  })).filter(({ url }) => url !== '');
}

/** Facts of the form that are kept, and under which names. */
const FACTS = {
  num_segments: 'NumSegments',
  opt_out_type: 'OptOutType',
  messaging_service_sid: 'MessagingServiceSid',
  from_city: 'FromCity',
  from_state: 'FromState',
  from_zip: 'FromZip',
  from_country: 'FromCountry',
  to_city: 'ToCity',
  to_state: 'ToState',
  to_zip: 'ToZip',
  to_country: 'ToCountry',
} as const;

function factsOf(form: Form): JsonObject {
  const facts = Object.entries(FACTS).map(([name, parameter]) => [name, lineOf(form.get(parameter), MAX_FACT_CHARACTERS)] as const);
  return Object.fromEntries(facts.filter(([, value]) => value !== ''));
}

export function parseTwilioInbound(webhook: WebhookContent): readonly WebhookEvent[] {
  const form = formOf(webhook);
  if (form === undefined) return unreadable(NO_FORM);
  const id = form.get('MessageSid') || form.get('SmsSid');
  if (id === '') return unreadable('it has no MessageSid');
  const attachments = mediaOf(form);
  const inbound = {
    provider: 'twilio',
    providerMessageId: lineOf(id, LIMITS.id),
    messageType: attachments.length > 0 ? 'mms' : 'sms',
    fromAddress: lineOf(form.get('From'), LIMITS.address),
    toAddress: lineOf(form.get('To'), LIMITS.address),
    body: bodyOf(form.get('Body')),
    attachments,
    email: undefined,
    metaData: factsOf(form),
    occurredAt: undefined,
  } as const;
  return [{ kind: 'inbound', inbound }];
}
