/** SendGrid, version 3: send mail, and ask the Email Activity what became of it. */
import type { Random } from './seeded-random.ts';
import { activityOf, parseActivityQuery } from './simulator-activity.ts';
import { fateOf, type Slot } from './simulator-fate.ts';
import type { Faults } from './simulator-faults.ts';
import { shortId } from './simulator-ids.ts';
import { type AcceptedEmail, acceptedOf, isVisible, type Journal, subjectOf } from './simulator-journal.ts';
import { parseJson } from './simulator-json.ts';
import { type Mail, MailError, readMail } from './simulator-mail.ts';
import { type ApiAnswer, type ApiRequest, json, type ProviderApi, type Refusal } from './simulator-provider.ts';

/** SendGrid's own limit, attachments included. */
const MAX_BODY_BYTES = 30 * 1_024 * 1_024;
const DEFAULT_LIMIT = 10;
const MAX_LIMIT = 1_000;
const MAX_QUERY_CHARACTERS = 4_000;
const HELP = 'https://docs.sendgrid.com/api-reference/mail-send/errors';

export interface SendGridApiOptions {
  readonly apiKey: string;
  readonly journal: Journal;
  readonly random: Random;
  readonly now: () => number;
  faults(): Faults;
  launch(message: AcceptedEmail, slots: readonly Slot[]): void;
}

function sendGridError(
  status: number,
  message: string,
  field: string | null = null,
  headers: Readonly<Record<string, string>> = {},
): ApiAnswer {
  return json(status, { errors: [{ message, field, help: field === null ? null : HELP }] }, headers);
}

export class SendGridApi implements ProviderApi {
  readonly maxBodyBytes = MAX_BODY_BYTES;
  readonly #options: SendGridApiOptions;

  constructor(options: SendGridApiOptions) {
    this.#options = options;
  }

  serves(path: string): boolean {
    return path.startsWith('/v3/');
  }

  unauthorized({ headers }: ApiRequest): ApiAnswer | undefined {
    return headers.authorization === `Bearer ${this.#options.apiKey}` ? undefined : this.refuse('unauthorized');
  }

  isSend({ method, path }: ApiRequest): boolean {
    return method === 'POST' && path === '/v3/mail/send';
  }

  send({ body, headers }: ApiRequest) {
    if (headers['content-type']?.startsWith('application/json') !== true) {
      return { accepted: false, answer: sendGridError(415, 'Content-Type should be application/json.') };
    }
    try {
      const mail = readMail(parseJson(body));
      if (mail.sandbox) return { accepted: false, answer: { status: 200, body: '' } };
      const id = shortId(this.#options.random);
      this.#accept(mail, id);
      return { accepted: true, answer: { status: 202, headers: { 'X-Message-Id': id }, body: '' } };
    } catch (error) {
      if (!(error instanceof MailError)) throw error;
      return { accepted: false, answer: sendGridError(400, error.message, error.field) };
    }
  }

  lookup({ method, path, query }: ApiRequest): ApiAnswer {
    if (path !== '/v3/messages') return sendGridError(404, 'not found');
    if (method !== 'GET') return sendGridError(405, 'method not allowed');
    const text = query.get('query') ?? '';
    const filter = text.length > MAX_QUERY_CHARACTERS ? undefined : parseActivityQuery(text);
    if (filter === undefined) return sendGridError(400, 'invalid query', 'query');
    const limit = Number(query.get('limit') ?? DEFAULT_LIMIT);
    if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT) return sendGridError(400, 'limit must be from 1 to 1000', 'limit');
    const { journal, faults, now } = this.#options;
    const nowMs = now();
    const messages: unknown[] = [];
    for (const message of journal.newestFirst()) {
      if (message.provider !== 'sendgrid' || !isVisible(message, faults().lookupLagMs, nowMs) || !filter(message, nowMs)) continue;
      if (messages.push(activityOf(message, nowMs)) === limit) break;
    }
    return json(200, { messages });
  }

  refuse(refusal: Refusal): ApiAnswer {
    const { retryAfterSeconds } = this.#options.faults();
    switch (refusal) {
      case 'fail':
        return sendGridError(500, 'Internal Server Error');
      case 'unavailable':
        return sendGridError(503, 'Service Unavailable');
      case 'throttle': {
        const resetAt = Math.ceil(this.#options.now() / 1_000) + retryAfterSeconds;
        const headers = { 'Retry-After': String(retryAfterSeconds), 'X-RateLimit-Remaining': '0', 'X-RateLimit-Reset': String(resetAt) };
        return sendGridError(429, 'too many requests', null, headers);
      }
      case 'reject':
        return sendGridError(400, 'Does not contain a valid address.', 'personalizations.0.to.0.email');
      case 'unauthorized':
        return sendGridError(401, 'The provided authorization grant is invalid, expired, or revoked');
      default:
        return refusal satisfies never;
    }
  }

  tooLarge(): ApiAnswer {
    return sendGridError(413, 'Payload Too Large');
  }

  /** Every recipient has a fate of its own. */
  #accept(mail: Mail, providerMessageId: string): void {
    const { random, now, journal, faults, launch } = this.#options;
    const content = [...mail.contents, ...mail.attachments];
    for (const [index, { email, subject, args }] of mail.recipients.entries()) {
      const fate = fateOf('email', faults(), random);
      const draft = {
        from: mail.from,
        to: email,
        body: mail.contents[0] ?? '',
        content: [subject, ...content],
        mediaCount: mail.attachments.length,
        args,
        steps: fate.steps,
      };
      const message: AcceptedEmail = {
        ...acceptedOf(draft, now()),
        provider: 'sendgrid',
        providerMessageId,
        sgMessageId: `${providerMessageId}.filterdrecv-7bdf8f9c6d-x2k4v-1-65A1B2C3-${index}.0`,
        subject: subjectOf(subject),
      };
      journal.add(message);
      launch(message, fate.slots);
    }
  }
}
