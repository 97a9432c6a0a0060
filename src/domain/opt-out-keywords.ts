/** Words with which the holder of a phone stops and resumes what is sent to it. Source: Twilio's default opt-out keywords. */
import type { JsonObject } from './json.ts';
import type { MessageType } from './message.ts';
import { LIFTABLE, type SuppressionChange } from './suppression.ts';

export type OptOutKeyword = 'stop' | 'start' | 'help';

const KEYWORDS: ReadonlyMap<string, OptOutKeyword> = new Map([
  ...['STOP', 'STOPALL', 'UNSUBSCRIBE', 'CANCEL', 'END', 'QUIT', 'REVOKE', 'OPTOUT'].map((word) => [word, 'stop'] as const),
  ...['START', 'YES', 'UNSTOP'].map((word) => [word, 'start'] as const),
  ...['HELP', 'INFO'].map((word) => [word, 'help'] as const),
]);

/** What Twilio itself made of the message, by its default keywords or by those that were configured there. */
const OPT_OUT_TYPES: ReadonlyMap<string, OptOutKeyword> = new Map([
  ['STOP', 'stop'],
  ['START', 'start'],
  ['HELP', 'help'],
]);

/** A longer text is no keyword; bounds the search for punctuation at its end. */
const MAX_KEYWORD_CHARACTERS = 40;

/** HELP is answered by the provider, and changes nothing. */
const CHANGE: Readonly<Record<OptOutKeyword, SuppressionChange | undefined>> = {
  stop: { kind: 'suppress', source: 'keyword', scope: 'sender' },
  start: { kind: 'lift', sources: LIFTABLE.sms, scope: 'sender' },
  help: undefined,
};

/** The keyword that a body is: as a whole, in any case, with spaces around it and punctuation behind it. */
export function keywordOf(body: string): OptOutKeyword | undefined {
  const trimmed = body.trim();
  if (trimmed.length > MAX_KEYWORD_CHARACTERS) return undefined;
  return KEYWORDS.get(trimmed.replace(/[\p{P}\s]+$/u, '').toUpperCase());
}

export interface InboundText {
  readonly messageType: MessageType;
  readonly body: string;
  /** With Twilio's OptOutType as `opt_out_type`, when it sent one. It counts more than the body. */
  readonly metaData: JsonObject;
}

/** What an inbound message asks for. undefined: nothing, as all email does. */
export function suppressionByKeyword({ messageType, body, metaData }: InboundText): SuppressionChange | undefined {
  if (messageType === 'email') return undefined;
  const told = metaData['opt_out_type'];
  const keyword = (typeof told === 'string' ? OPT_OUT_TYPES.get(told.toUpperCase()) : undefined) ?? keywordOf(body);
  return keyword && CHANGE[keyword];
}
