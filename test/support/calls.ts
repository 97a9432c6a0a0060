/** Calls to a running service that show what it answered, header included, and that are never repeated behind the test's back. */
import { type Client, Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { ErrorInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.js';
import type { Conversation } from '../../gen/messaging/v1/conversation_pb.js';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import { type Message, MessageType } from '../../gen/messaging/v1/message_pb.js';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { SuppressionService } from '../../gen/messaging/v1/suppression_service_pb.js';

export interface Calls {
  readonly messages: Client<typeof MessageService>;
  readonly conversations: Client<typeof ConversationService>;
  readonly providerEvents: Client<typeof ProviderEventService>;
  readonly suppressions: Client<typeof SuppressionService>;
  /** With what `x-cache` says about it. */
  readMessage(id: string): Promise<{ readonly message: Message; readonly source: string }>;
  readConversation(id: string): Promise<{ readonly conversation: Conversation; readonly source: string }>;
  /** Sends one SMS between two addresses, by default always the same ones. */
  send(fields?: { readonly fromAddress?: string; readonly toAddress?: string; readonly body?: string }): Promise<Message>;
}

/** No deadline: the service ends a call when its own has passed, so that what ended it can be told. */
export function callsTo({ grpcPort }: { readonly grpcPort: number }): Calls {
  const transport = createGrpcTransport({ baseUrl: `http://127.0.0.1:${grpcPort}` });
  const messages = createClient(MessageService, transport);
  const conversations = createClient(ConversationService, transport);
  const present = <T>(value: T | undefined): T => {
    if (value === undefined) throw new Error('the answer is empty');
    return value;
  };
  return {
    messages,
    conversations,
    providerEvents: createClient(ProviderEventService, transport),
    suppressions: createClient(SuppressionService, transport),
    async readMessage(id) {
      let source = '';
      const { message } = await messages.getMessage({ id }, { onHeader: (headers) => (source = headers.get('x-cache') ?? '') });
      return { message: present(message), source };
    },
    async readConversation(id) {
      let source = '';
      const { conversation } = await conversations.getConversation(
        { id },
        { onHeader: (headers) => (source = headers.get('x-cache') ?? '') },
      );
      return { conversation: present(conversation), source };
    },
    async send({ fromAddress = '+14155552671', toAddress = '+14155552672', body = 'hello' } = {}) {
      const { message } = await messages.sendMessage({ message: { fromAddress, toAddress, body, messageType: MessageType.SMS } });
      return present(message);
    },
  };
}

export interface Failure {
  /** As gRPC spells it. */
  readonly code: keyof typeof Code;
  readonly reason: string | undefined;
  /** Undefined: the error does not say when to try again. */
  readonly retryAfterSeconds: number | undefined;
  readonly message: string;
}

/** How a call failed. Throws when it did not. */
export async function failureOf(call: Promise<unknown>): Promise<Failure> {
  try {
    await call;
  } catch (error) {
    const failure = ConnectError.from(error);
    const retry = failure.findDetails(RetryInfoSchema)[0]?.retryDelay;
    return {
      code: Code[failure.code] as keyof typeof Code,
      reason: failure.findDetails(ErrorInfoSchema)[0]?.reason,
      retryAfterSeconds: retry && Number(retry.seconds) + retry.nanos / 1e9,
      message: failure.rawMessage,
    };
  }
  throw new Error('the call succeeded');
}
