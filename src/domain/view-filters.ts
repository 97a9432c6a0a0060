/** What the filters of lists say, of one view in memory. An integration test holds them against the SQL of db/list-queries.ts. */
import type { ConversationFilter, MessageFilter } from './ports.ts';
import {
  activeAtMsOf,
  type ConversationView,
  conversationStatusProto,
  createdAtMsOf,
  directionProto,
  type MessageView,
  reasonProto,
  statusProto,
  typeProto,
} from './views.ts';
import type { DeletedConversation } from './watch-ports.ts';

type Test<Item> = (item: Item) => boolean;

const allOf =
  <Item>(tests: readonly (Test<Item> | undefined)[]): Test<Item> =>
  (item) =>
    tests.every((test) => test === undefined || test(item));

/** undefined: anything. */
function oneOf<Value, Item>(values: readonly Value[], read: (item: Item) => Value): Test<Item> | undefined {
  if (values.length === 0) return undefined;
  const allowed = new Set(values);
  return (item) => allowed.has(read(item));
}

export function messageMatcher(filter: MessageFilter): Test<MessageView> {
  const { conversationIds, statuses, messageTypes, direction, parentId, providerMessageId, createdAfter, createdBefore } = filter;
  const reasons = new Set<number | undefined>(filter.failureReasons.map((reason) => reasonProto[reason]));
  const address = filter.address?.toLowerCase();
  const after = createdAfter?.getTime();
  const before = createdBefore?.getTime();
  const directions = direction === undefined ? [] : [directionProto[direction]];
  return allOf<MessageView>([
    oneOf(conversationIds, (message) => message.conversationId),
    oneOf(
      statuses.map((status) => statusProto[status]),
      (message) => message.status,
    ),
    oneOf(directions, (message) => message.direction),
    oneOf(
      messageTypes.map((type) => typeProto[type]),
      (message) => message.messageType,
    ),
    parentId === undefined ? undefined : (message) => message.parentId === parentId,
    providerMessageId === undefined ? undefined : (message) => message.providerMessageId === providerMessageId,
    address === undefined
      ? undefined
      : ({ fromAddress, toAddress }) => fromAddress.toLowerCase() === address || toAddress.toLowerCase() === address,
    reasons.size === 0 ? undefined : ({ status, failure }) => status === statusProto.failed && reasons.has(failure?.reason),
    after === undefined ? undefined : (message) => createdAtMsOf(message) >= after,
    before === undefined ? undefined : (message) => createdAtMsOf(message) < before,
  ]);
}

/** The key of an address that is stored, see Address in address.ts. */
const keyOf = (text: string): string => (text.includes('@') ? text.toLowerCase() : text);

export function conversationMatcher(filter: ConversationFilter): Test<ConversationView> {
  const { participant, channelType, statuses, unreadOnly, activeAfter } = filter;
  const after = activeAfter?.getTime();
  return allOf<ConversationView>([
    oneOf(
      statuses.map((status) => conversationStatusProto[status]),
      (conversation) => conversation.status,
    ),
    channelType === undefined ? undefined : (conversation) => conversation.channelType === typeProto[channelType],
    participant === undefined
      ? undefined
      : ({ participantFrom, participantTo }) => keyOf(participantFrom) === participant || keyOf(participantTo) === participant,
    unreadOnly ? (conversation) => conversation.unreadCount > 0n : undefined,
    after === undefined ? undefined : (conversation) => activeAtMsOf(conversation) >= after,
  ]);
}

/** By what never changes of a conversation: whether the rest of the filter held when it was deleted, nobody knows. */
export function deletedMatcher({ participant, channelType }: ConversationFilter): Test<DeletedConversation> {
  return allOf<DeletedConversation>([
    participant === undefined ? undefined : ({ fromKey, toKey }) => fromKey === participant || toKey === participant,
    channelType === undefined ? undefined : (deleted) => deleted.channelType === channelType,
  ]);
}
