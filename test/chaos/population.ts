/** The rows that are read and written: a few hot ones, some hundred others. */
import { pick, type Random } from '../support/seeded-random.ts';

export interface ConversationRow {
  readonly id: string;
  /** In the history; also in Redis. */
  readonly key: string;
  readonly toAddress: string;
  readonly hot: boolean;
  readonly messages: Set<MessageRow>;
  /** Somebody has begun to delete it; it is not written any more. */
  doomed: boolean;
}

export interface MessageRow {
  readonly id: string;
  readonly key: string;
  readonly hot: boolean;
  readonly conversation: ConversationRow;
  /** What the last writer made of it; a guess. */
  failed: boolean;
}

export type Row = ConversationRow | MessageRow;

export const isMessage = (row: Row): row is MessageRow => 'conversation' in row;

/** Of each entity. */
const HOT_ROWS = 5;
/** Deleted rows that are still asked for: they must not come back. */
const MAX_GONE = 60;

export interface Population {
  addConversation(id: string, toAddress: string): ConversationRow;
  /** undefined when its conversation is being deleted: nobody knows whether it will be there. */
  addMessage(conversation: ConversationRow, id: string): MessageRow | undefined;
  /** Takes a row, and what goes with it, out of what is written and read, and returns all of them. Now and then they are asked for. */
  doom(row: Row): readonly Row[];
  readonly conversations: readonly ConversationRow[];
  readonly messages: readonly MessageRow[];
  readonly hotConversations: readonly ConversationRow[];
  readonly hotMessages: readonly MessageRow[];
  readonly gone: readonly Row[];
  /** Rises when the table of messages begins and when it ends to be emptied: of messages made across that nobody knows. */
  epoch: number;
  /** A conversation that may be deleted: not hot, nor any of its messages. */
  expendable(random: Random): ConversationRow;
}

/** Takes no time in long lists: the order changes. */
function remove<Item>(from: Item[], item: Item): void {
  const index = from.indexOf(item);
  if (index < 0) return;
  const last = from.pop();
  if (index < from.length && last !== undefined) from[index] = last;
}

export function createPopulation(): Population {
  const conversations: ConversationRow[] = [];
  const messages: MessageRow[] = [];
  const hotConversations: ConversationRow[] = [];
  const hotMessages: MessageRow[] = [];
  const gone: Row[] = [];

  function bury(row: Row): void {
    gone.push(row);
    if (gone.length > MAX_GONE) gone.shift();
  }

  function doomMessage(message: MessageRow): void {
    remove(messages, message);
    remove(hotMessages, message);
    message.conversation.messages.delete(message);
    bury(message);
  }

  return {
    conversations,
    messages,
    hotConversations,
    hotMessages,
    gone,
    epoch: 0,

    addConversation(id, toAddress) {
      const hot = hotConversations.length < HOT_ROWS;
      const conversation: ConversationRow = { id, key: `conversation:${id}`, toAddress, hot, messages: new Set(), doomed: false };
      conversations.push(conversation);
      if (hot) hotConversations.push(conversation);
      return conversation;
    },

    addMessage(conversation, id) {
      if (conversation.doomed) return undefined;
      // Each in a conversation of its own that is not hot, so that writers of hot rows do not wait for each other.
      const hot = !conversation.hot && hotMessages.length < HOT_ROWS && !hotMessages.some((other) => other.conversation === conversation);
      const message: MessageRow = { id, key: `message:${id}`, hot, conversation, failed: false };
      conversation.messages.add(message);
      messages.push(message);
      if (hot) hotMessages.push(message);
      return message;
    },

    doom(row) {
      if (isMessage(row)) {
        doomMessage(row);
        return [row];
      }
      const rows = [row, ...row.messages];
      row.doomed = true;
      remove(conversations, row);
      remove(hotConversations, row);
      for (const message of row.messages) doomMessage(message);
      bury(row);
      return rows;
    },

    expendable: (random) =>
      pick(
        random,
        conversations.filter((conversation) => !conversation.hot && !hotMessages.some((message) => message.conversation === conversation)),
      ),
  };
}
