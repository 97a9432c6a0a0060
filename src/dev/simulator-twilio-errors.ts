/** What Twilio refuses, and how it says so. */
import type { OptOuts } from './simulator-opt-outs.ts';
import { type ApiAnswer, json } from './simulator-provider.ts';

const MESSAGES: ReadonlyMap<number, string> = new Map([
  [20_001, 'Invalid parameter'],
  [20_003, 'Authenticate'],
  [20_004, 'Method not allowed'],
  [20_404, 'The requested resource was not found'],
  [20_429, 'Too Many Requests'],
  [20_500, 'Internal Server Error'],
  [20_503, 'Service Unavailable'],
  [21_211, "Invalid 'To' Phone Number"],
  [21_212, "Invalid 'From' Phone Number"],
  [21_266, "'To' and 'From' number cannot be the same"],
  [21_408, 'Permission to send an SMS has not been enabled for the region indicated by the To number'],
  [21_602, 'Message body is required'],
  [21_603, "A 'From' phone number is required"],
  [21_604, "A 'To' phone number is required"],
  [21_606, "The 'From' phone number provided is not a valid message-capable Twilio phone number for this destination"],
  [21_609, "The 'StatusCallback' URL is not a valid URL"],
  [21_610, 'Attempt to send to unsubscribed recipient'],
  [21_611, "This 'From' number has exceeded the maximum number of queued messages"],
  [21_612, "Message cannot be sent with the current combination of 'To' and 'From' parameters"],
  [21_614, "'To' number is not a valid mobile number"],
  [21_617, 'The concatenated message body exceeds the 1600 character limit'],
  [21_620, 'Invalid media URL(s)'],
  [21_623, 'Number of media files exceeds allowed limit'],
  [21_701, 'The Messaging Service resource does not exist'],
  [30_003, 'Unreachable destination handset'],
  [30_005, 'Unknown destination handset'],
  [30_006, 'Landline or unreachable carrier'],
  [30_007, 'Message filtered'],
  [30_008, 'Unknown error'],
]);

export function twilioErrorMessage(code: number): string {
  return MESSAGES.get(code) ?? 'Error';
}

export function twilioError(status: number, code: number, headers: Readonly<Record<string, string>> = {}): ApiAnswer {
  const message = twilioErrorMessage(code);
  return json(status, { code, message, more_info: `https://www.twilio.com/docs/errors/${code}`, status }, headers);
}

/** Twilio's magic numbers for tests. */
const MAGIC_TO: ReadonlyMap<string, number> = new Map([
  ['+15005550001', 21_211],
  ['+15005550002', 21_612],
  ['+15005550003', 21_408],
  ['+15005550004', 21_610],
  ['+15005550009', 21_614],
]);
const MAGIC_FROM: ReadonlyMap<string, number> = new Map([
  ['+15005550001', 21_212],
  ['+15005550007', 21_606],
  ['+15005550008', 21_611],
]);

/** Stands in for the sender that a messaging service chooses; Twilio's own magic number for a valid one. */
export const POOL_NUMBER = '+15005550006';

const PHONE_NUMBER = /^\+[1-9]\d{6,14}$/;
/** A phone number, a short code, or an alphanumeric sender of at most 11 characters. */
const SENDER = /^(\+[1-9]\d{6,14}|\d{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 &_+-]{1,11})$/;
const MESSAGING_SERVICE = /^MG[0-9a-fA-F]{32}$/;
const MAX_BODY_CHARACTERS = 1_600;
const MAX_MEDIA = 10;
const MAX_URL_CHARACTERS = 4_000;
const MAX_VALIDITY_SECONDS = 36_000;

export interface MessageForm {
  readonly to: string;
  readonly from: string;
  readonly messagingServiceSid: string;
  readonly body: string;
  readonly mediaUrls: readonly string[];
  readonly statusCallback: string | undefined;
  readonly validityPeriod: string | undefined;
}

export function readMessageForm(bytes: Buffer): MessageForm {
  const form = new URLSearchParams(bytes.toString('utf8'));
  return {
    to: form.get('To') ?? '',
    from: form.get('From') ?? '',
    messagingServiceSid: form.get('MessagingServiceSid') ?? '',
    body: form.get('Body') ?? '',
    mediaUrls: form.getAll('MediaUrl'),
    statusCallback: form.get('StatusCallback') ?? undefined,
    validityPeriod: form.get('ValidityPeriod') ?? undefined,
  };
}

function isWebUrl(text: string): boolean {
  if (text.length > MAX_URL_CHARACTERS) return false;
  const protocol = URL.parse(text)?.protocol;
  return protocol === 'http:' || protocol === 'https:';
}

function isValidityPeriod(text: string): boolean {
  return /^\d+$/.test(text) && Number(text) >= 1 && Number(text) <= MAX_VALIDITY_SECONDS;
}

/** In the order in which they are looked at; the first that holds is the error. */
const RULES: readonly (readonly [code: number, broken: (form: MessageForm, optOuts: OptOuts) => boolean])[] = [
  [21_604, ({ to }) => to === ''],
  [21_603, ({ from, messagingServiceSid }) => from === '' && messagingServiceSid === ''],
  [21_701, ({ messagingServiceSid }) => messagingServiceSid !== '' && !MESSAGING_SERVICE.test(messagingServiceSid)],
  [21_602, ({ body, mediaUrls }) => body === '' && mediaUrls.length === 0],
  [21_617, ({ body }) => body.length > MAX_BODY_CHARACTERS && [...body].length > MAX_BODY_CHARACTERS],
  [21_623, ({ mediaUrls }) => mediaUrls.length > MAX_MEDIA],
  [21_620, ({ mediaUrls }) => !mediaUrls.every(isWebUrl)],
  [21_609, ({ statusCallback }) => statusCallback !== undefined && !isWebUrl(statusCallback)],
  [20_001, ({ validityPeriod }) => validityPeriod !== undefined && !isValidityPeriod(validityPeriod)],
  [21_211, ({ to }) => !PHONE_NUMBER.test(to)],
  [21_212, ({ from }) => from !== '' && !SENDER.test(from)],
  [21_266, ({ to, from }) => to === from],
  [21_610, ({ to, from }, optOuts) => optOuts.has(from || POOL_NUMBER, to)],
];

/** Twilio's code, or undefined when the message can be accepted. */
export function findFormError(form: MessageForm, optOuts: OptOuts): number | undefined {
  const broken = RULES.find(([, isBroken]) => isBroken(form, optOuts));
  return broken?.[0] ?? MAGIC_TO.get(form.to) ?? MAGIC_FROM.get(form.from);
}
