/** Twilio Programmable Messaging, version 2010-04-01: create, list and fetch messages. */
import { segment } from '../domain/segments.ts';
import type { Random } from './seeded-random.ts';
import { fateOf, type Slot } from './simulator-fate.ts';
import type { Faults } from './simulator-faults.ts';
import { sid } from './simulator-ids.ts';
import { type AcceptedText, acceptedOf, isVisible, type Journal, stepAt } from './simulator-journal.ts';
import type { OptOuts } from './simulator-opt-outs.ts';
import { type ApiAnswer, type ApiRequest, json, type ProviderApi, type Refusal } from './simulator-provider.ts';
import { API_VERSION, type TwilioAccount } from './simulator-twilio-callbacks.ts';
import {
  findFormError,
  type MessageForm,
  POOL_NUMBER,
  readMessageForm,
  twilioError,
  twilioErrorMessage,
} from './simulator-twilio-errors.ts';
import { listPage, sentAtMs, statusOf } from './simulator-twilio-list.ts';

/** Far above a body of 1,600 characters and ten media URLs. */
const MAX_BODY_BYTES = 256 * 1_024;

export interface TwilioApiOptions {
  readonly account: TwilioAccount;
  readonly journal: Journal;
  readonly optOuts: OptOuts;
  readonly random: Random;
  readonly now: () => number;
  faults(): Faults;
  launch(message: AcceptedText, slots: readonly Slot[]): void;
}

/** What Twilio's documents call RFC 2822. */
const timeText = (ms: number): string => new Date(ms).toUTCString().replace('GMT', '+0000');

export class TwilioApi implements ProviderApi {
  readonly maxBodyBytes = MAX_BODY_BYTES;
  readonly #options: TwilioApiOptions;
  readonly #list: string;
  readonly #credentials: string;

  constructor(options: TwilioApiOptions) {
    const { accountSid, authToken } = options.account;
    this.#options = options;
    this.#list = `/${API_VERSION}/Accounts/${accountSid}/Messages`;
    this.#credentials = `Basic ${Buffer.from(`${accountSid}:${authToken}`).toString('base64')}`;
  }

  serves(path: string): boolean {
    return path.startsWith(`/${API_VERSION}/`);
  }

  unauthorized({ path, headers }: ApiRequest): ApiAnswer | undefined {
    const ownAccount = path.startsWith(`/${API_VERSION}/Accounts/${this.#options.account.accountSid}/`);
    return ownAccount && headers.authorization === this.#credentials ? undefined : twilioError(401, 20_003);
  }

  isSend({ method, path }: ApiRequest): boolean {
    return method === 'POST' && path === `${this.#list}.json`;
  }

  send({ body }: ApiRequest) {
    const { random, now, optOuts, faults, launch, journal } = this.#options;
    const form = readMessageForm(body);
    const error = findFormError(form, optOuts);
    if (error !== undefined) return { accepted: false, answer: twilioError(400, error) };
    const fate = fateOf('phone', faults(), random);
    const message = this.#messageOf(
      form,
      sid(random, form.mediaUrls.length > 0 ? 'MM' : 'SM'),
      acceptedOf(draftOf(form, fate.steps), now()),
    );
    journal.add(message);
    if (message.statusCallback !== undefined) launch(message, fate.slots);
    const headers = { 'Twilio-Request-Id': sid(random, 'RQ') };
    return { accepted: true, answer: json(201, this.#resource(message, message.acceptedAtMs - 1), headers) };
  }

  lookup({ method, path, query }: ApiRequest): ApiAnswer {
    const { journal, now, faults } = this.#options;
    const lagMs = faults().lookupLagMs;
    if (method !== 'GET') return twilioError(405, 20_004);
    if (path === `${this.#list}.json`) {
      const nowMs = now();
      return json(200, listPage(journal, { path, query, lagMs, nowMs, resource: (message) => this.#resource(message, nowMs) }));
    }
    const id = path.startsWith(`${this.#list}/`) && path.endsWith('.json') ? path.slice(this.#list.length + 1, -'.json'.length) : '';
    const message = journal.find(id);
    if (message?.provider !== 'twilio' || !isVisible(message, lagMs, now())) return twilioError(404, 20_404);
    return json(200, this.#resource(message, now()));
  }

  refuse(refusal: Refusal): ApiAnswer {
    const { rejectCode, retryAfterSeconds } = this.#options.faults();
    switch (refusal) {
      case 'fail':
        return twilioError(500, 20_500);
      case 'unavailable':
        return twilioError(503, 20_503);
      case 'throttle':
        return twilioError(429, 20_429, { 'Retry-After': String(retryAfterSeconds) });
      case 'reject':
        return twilioError(400, rejectCode);
      case 'unauthorized':
        return twilioError(401, 20_003);
      default:
        return refusal satisfies never;
    }
  }

  tooLarge(): ApiAnswer {
    return twilioError(413, 21_617);
  }

  #messageOf(form: MessageForm, providerMessageId: string, accepted: ReturnType<typeof acceptedOf>): AcceptedText {
    return {
      ...accepted,
      provider: 'twilio',
      providerMessageId,
      messagingServiceSid: form.messagingServiceSid === '' ? undefined : form.messagingServiceSid,
      segmentCount: segment(form.body).segmentCount,
      statusCallback: form.statusCallback,
    };
  }

  /** The Message resource as it is at that time. */
  #resource(message: AcceptedText, nowMs: number): unknown {
    const { accountSid } = this.#options.account;
    const uri = `${this.#list}/${message.providerMessageId}`;
    const step = stepAt(message, nowMs);
    const sentMs = sentAtMs(message, nowMs);
    // A messaging service chooses the sender, and with it the segments, only later.
    const unassigned = message.messagingServiceSid !== undefined && step === undefined;
    return {
      account_sid: accountSid,
      api_version: API_VERSION,
      body: message.body,
      date_created: timeText(message.acceptedAtMs),
      date_sent: sentMs === undefined ? null : timeText(sentMs),
      date_updated: timeText(message.acceptedAtMs + (step?.afterMs ?? 0)),
      direction: 'outbound-api',
      error_code: step?.code ?? null,
      error_message: step?.code === undefined ? null : twilioErrorMessage(step.code),
      from: unassigned ? null : message.from,
      messaging_service_sid: message.messagingServiceSid ?? null,
      num_media: String(message.mediaCount),
      num_segments: unassigned ? '0' : String(message.segmentCount),
      price: null,
      price_unit: 'USD',
      sid: message.providerMessageId,
      status: statusOf(message, nowMs),
      subresource_uris: { media: `${uri}/Media.json` },
      to: message.to,
      uri: `${uri}.json`,
    };
  }
}

function draftOf(form: MessageForm, steps: Parameters<typeof acceptedOf>[0]['steps']) {
  const query = URL.parse(form.statusCallback ?? '')?.searchParams ?? new URLSearchParams();
  return {
    from: form.from === '' ? POOL_NUMBER : form.from,
    to: form.to,
    body: form.body,
    content: [form.body, ...form.mediaUrls],
    mediaCount: form.mediaUrls.length,
    args: Object.fromEntries(query),
    steps,
  };
}
