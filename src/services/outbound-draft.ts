import { type Address, parseRecipient, parseSender } from '../domain/address.ts';
import { isPublicUrl } from '../domain/attachment-url.ts';
import { DomainError, fieldInvalid } from '../domain/errors.ts';
import type { JsonObject } from '../domain/json.ts';
import { type Attachment, type EmailContent, type MessageType, type Provider, providerOf } from '../domain/message.ts';
import { type Segmentation, segment } from '../domain/segments.ts';

/** What a caller wants sent, as the contract's OutboundMessage states it; single fields are already checked. */
export interface OutboundDraft {
  readonly fromAddress: string;
  readonly toAddress: string;
  /** undefined: derived from recipient and attachments. */
  readonly messageType: MessageType | undefined;
  readonly body: string;
  readonly attachments: readonly Attachment[];
  readonly email: EmailContent | undefined;
  readonly conversationId: string | undefined;
  readonly parentId: string | undefined;
  readonly metaData: JsonObject;
  readonly sendAt: Date | undefined;
  readonly validityMs: number | undefined;
  /** Path of this message in the request, for errors, e.g. `requests[2].message`. */
  readonly path: string;
}

/** A draft whose addresses are parsed and whose type is settled. */
export interface PreparedMessage extends Omit<OutboundDraft, 'messageType' | 'fromAddress' | 'toAddress' | 'path' | 'validityMs'> {
  readonly from: Address;
  readonly to: Address;
  readonly messageType: MessageType;
  readonly provider: Provider;
  readonly segmentation: Segmentation | undefined;
  readonly validityMs: number;
}

const MAX_PHONE_BODY_CHARACTERS = 1_600;
const MAX_META_DATA_BYTES = 16_384;
const MAX_SEND_AHEAD_MS = 35 * 86_400_000;
const DEFAULT_VALIDITY_MS = 10 * 3_600_000;

/** Throws field_invalid when the JSON is larger than the contract allows. */
export function checkMetaData(metaData: JsonObject, field: string): void {
  if (Buffer.byteLength(JSON.stringify(metaData)) > MAX_META_DATA_BYTES) {
    throw fieldInvalid(field, `is larger than ${MAX_META_DATA_BYTES} bytes as JSON`);
  }
}

function settleType({ messageType, attachments, path }: OutboundDraft, to: Address): MessageType {
  const derived = to.channel === 'email' ? 'email' : attachments.length > 0 ? 'mms' : 'sms';
  if (messageType === undefined || messageType === derived) return messageType ?? derived;
  if (messageType === 'email' || derived === 'email') {
    throw fieldInvalid(`${path}.message_type`, `${messageType.toUpperCase()} cannot be sent to this kind of to_address`);
  }
  return messageType;
}

function checkContent(draft: OutboundDraft, messageType: MessageType): void {
  const { path, body, email } = draft;
  if (messageType === 'email') {
    if (email === undefined) throw fieldInvalid(`${path}.email`, 'is required for an email');
    return;
  }
  if (email !== undefined) throw fieldInvalid(`${path}.email`, 'is only for an email');
  if ([...body].length > MAX_PHONE_BODY_CHARACTERS) {
    throw fieldInvalid(`${path}.body`, `is longer than ${MAX_PHONE_BODY_CHARACTERS} characters, the limit of SMS and MMS`);
  }
}

/** Whoever fetches an attachment stands inside the network, so that callers must not point it there. */
function checkAttachments({ path, attachments }: OutboundDraft): void {
  const index = attachments.findIndex(({ url }) => !isPublicUrl(url));
  if (index >= 0) throw fieldInvalid(`${path}.attachments[${index}].url`, 'must be an https URL with a public host');
}

/** Throws address_invalid, field_invalid and sender_not_allowed. `senderKeys` empty: any sender. */
export function prepareMessage(draft: OutboundDraft, senderKeys: ReadonlySet<string>, now: Date): PreparedMessage {
  const { path, fromAddress, toAddress, validityMs, messageType: _asked, ...rest } = draft;
  const to = parseRecipient(toAddress, `${path}.to_address`);
  const from = parseSender(fromAddress, to.channel, `${path}.from_address`);
  if (senderKeys.size > 0 && !senderKeys.has(from.key)) {
    throw new DomainError('sender_not_allowed', `${path}.from_address is not one of the configured senders`, {
      metadata: { from_address: from.text },
    });
  }
  const messageType = settleType(draft, to);
  checkContent(draft, messageType);
  checkAttachments(draft);
  checkMetaData(draft.metaData, `${path}.meta_data`);
  if (draft.sendAt !== undefined && draft.sendAt.getTime() - now.getTime() > MAX_SEND_AHEAD_MS) {
    throw fieldInvalid(`${path}.send_at`, 'is more than 35 days ahead');
  }
  return {
    ...rest,
    from,
    to,
    messageType,
    provider: providerOf(messageType),
    segmentation: messageType === 'sms' ? segment(draft.body) : undefined,
    validityMs: validityMs ?? DEFAULT_VALIDITY_MS,
  };
}
