import type { JsonObject } from './json.ts';
import type { Attachment, EmailContent, MessageType, Provider } from './message.ts';

/** A message from outside, as its provider hands it over. */
export interface InboundMessage {
  readonly provider: Provider;
  readonly providerMessageId: string;
  readonly messageType: MessageType;
  /** The outside address. */
  readonly fromAddress: string;
  /** Our address. */
  readonly toAddress: string;
  readonly body: string;
  readonly attachments: readonly Attachment[];
  readonly email: EmailContent | undefined;
  readonly metaData: JsonObject;
  readonly occurredAt: Date | undefined;
}
