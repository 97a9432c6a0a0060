import { defineEntity, type InferEntity, p } from '@mikro-orm/core';
import { type Address, type Channel, storedAddress } from './address.ts';
import { channels, type Participants } from './conversation.ts';
import { DomainError } from './errors.ts';
import type { MessageFields } from './message.ts';

/** `keyword`: a STOP reply. `provider`: refused because of the provider's own list. `manual`: by a caller. */
export const suppressionSources = [
  'keyword',
  'unsubscribe',
  'group_unsubscribe',
  'spam_report',
  'hard_bounce',
  'provider',
  'manual',
] as const;
export type SuppressionSource = (typeof suppressionSources)[number];

/** What recipients may lift by themselves: by START, and by subscribing to a group of SendGrid's again. All else is not theirs to lift. */
export const LIFTABLE = {
  sms: ['keyword', 'provider'],
  email: ['group_unsubscribe'],
} as const satisfies Record<Channel, readonly SuppressionSource[]>;

/** Which sources, of the suppression that a pair has, a fresh one takes the place of: else the recipient could lift both at once. */
export function yieldingTo({ channel, source }: Pick<SuppressionFields, 'channel' | 'source'>): readonly SuppressionSource[] {
  const liftable: readonly SuppressionSource[] = LIFTABLE[channel];
  return liftable.includes(source) ? [] : liftable;
}

const SuppressionSchema = defineEntity({
  name: 'Suppression',
  tableName: 'suppressions',
  properties: {
    channel: p.enum(channels).primary(),
    addressKey: p.text().primary(),
    /** Key of our address that must not send; empty: none of ours may. */
    fromKey: p.text().primary(),
    /** For pages alone; rows are found by the key above. */
    id: p.uuid(),
    address: p.text(),
    fromAddress: p.text(),
    source: p.enum(suppressionSources),
    /** The message that caused it, which may have been deleted since. */
    messageId: p.uuid().nullable(),
    createdAt: p.datetime(3),
  },
});

/** The data of a suppression, however it was read. */
export type SuppressionFields = InferEntity<typeof SuppressionSchema>;

/** An outside address that must not be messaged, by one of ours or by any. The oldest stays until it is lifted. */
export class Suppression extends SuppressionSchema.class {}
SuppressionSchema.setClass(Suppression);

/** Names one suppression. `ours` undefined: the one for all of ours. */
export interface SuppressionPair {
  readonly theirs: Address;
  readonly ours: Address | undefined;
}

/** `sender`: between the address and the one of ours that took part. `all`: between the address and any of ours. */
type SuppressionScope = 'sender' | 'all';

/** What a keyword or a provider's report asks for. */
export type SuppressionChange =
  | { readonly kind: 'suppress'; readonly source: SuppressionSource; readonly scope: SuppressionScope }
  /** Lifts it when it came about in one of these ways. */
  | { readonly kind: 'lift'; readonly sources: readonly SuppressionSource[]; readonly scope: SuppressionScope };

export type NewSuppression = Pick<SuppressionFields, 'id' | 'source'> & {
  readonly pair: SuppressionPair;
  readonly messageId: string | null;
  readonly at: Date;
};

export function newSuppression({ id, source, pair: { theirs, ours }, messageId, at }: NewSuppression): SuppressionFields {
  return {
    id,
    channel: theirs.channel,
    addressKey: theirs.key,
    fromKey: ours?.key ?? '',
    address: theirs.text,
    fromAddress: ours?.text ?? '',
    source,
    messageId,
    createdAt: at,
  };
}

/** Between whom an outbound message goes. */
export function participantsOf({
  messageType,
  fromAddress,
  toAddress,
}: Pick<MessageFields, 'messageType' | 'fromAddress' | 'toAddress'>): Participants {
  const channel = messageType === 'email' ? 'email' : 'sms';
  return { ours: storedAddress(fromAddress, channel), theirs: storedAddress(toAddress, channel) };
}

/** A message that was not accepted because of its recipient. */
export interface RefusedRecipient {
  /** Path of the message in the request. */
  readonly path: string;
  readonly address: string;
  readonly since: Date;
}

/** `refused`: all of one request, at least one; the metadata are about the first. */
export function recipientOptedOut(refused: readonly RefusedRecipient[]): DomainError {
  const fields = refused.map(({ path }) => ({ field: `${path}.to_address`, description: 'the recipient has opted out' }));
  const [first] = refused;
  return new DomainError('recipient_opted_out', `${first?.path}.to_address: the recipient has opted out`, {
    metadata: first === undefined ? {} : { address: first.address, since: first.since.toISOString() },
    fields,
  });
}
