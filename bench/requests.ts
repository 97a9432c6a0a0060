/** What is asked of the contenders. */
import { create, toBinary } from '@bufbuild/protobuf';
import { UpdateConversationRequestSchema } from '../gen/messaging/v1/conversation_service_pb.js';
import { MessageType } from '../gen/messaging/v1/message_pb.js';
import {
  BatchGetMessagesRequestSchema,
  GetMessageRequestSchema,
  SendMessageRequestSchema,
} from '../gen/messaging/v1/message_service_pb.js';
import type { RequestSet } from './load.ts';
import { conversationId, messageId } from './rows.ts';

/** Rows that are read again and again, each as often as the others. */
export const HOT_ROWS = 1_000;
export const BATCH = 100;
const BATCHES = 500;
const STALENESS_SECONDS = 5n;
const RECIPIENTS = 500;
const TITLES = 4;
const UPDATED_ROWS = 500;
const LEAST_MESSAGE_BYTES = 500;

/** Of the plain GET: protobuf-JSON without anything around it. */
export const plainKey = (id: string): string => `plain:${id}`;

const numbers = (count: number, from = 0): readonly number[] => Array.from({ length: count }, (_, index) => from + index);

export function reads(name: string, rows: readonly number[], maxStaleness?: { seconds: bigint; nanos: number }): RequestSet {
  const ids = rows.map(messageId);
  const requests = ids.map((id) =>
    toBinary(GetMessageRequestSchema, create(GetMessageRequestSchema, { id, ...(maxStaleness && { maxStaleness }) })),
  );
  return { name, requests, markers: ids, leastAnswerBytes: LEAST_MESSAGE_BYTES };
}

function batches(): RequestSet {
  // In an order of its own each, without duplicates.
  const lists = numbers(BATCHES).map((first) => numbers(BATCH).map((step) => messageId((first * 7 + step * 3) % HOT_ROWS)));
  return {
    name: 'batch',
    requests: lists.map((ids) => toBinary(BatchGetMessagesRequestSchema, create(BatchGetMessagesRequestSchema, { ids }))),
    markers: lists.map(([first = '']) => first),
    leastAnswerBytes: BATCH * LEAST_MESSAGE_BYTES,
  };
}

const SEND_BODY = 'Good evening! Your table for two at the Harbour Kitchen is ready from half past seven.';

function sends(): RequestSet {
  const requests = numbers(RECIPIENTS).map((index) => {
    const message = { fromAddress: '+14155552671', toAddress: `+1415555${2_000 + index}`, messageType: MessageType.SMS, body: SEND_BODY };
    return toBinary(SendMessageRequestSchema, create(SendMessageRequestSchema, { message }));
  });
  return { name: 'send', requests, markers: requests.map(() => SEND_BODY), leastAnswerBytes: SEND_BODY.length };
}

/** Each title differs from the one before, for an update that changes nothing is none. */
function updates(): RequestSet {
  const ids = numbers(TITLES).flatMap((title) =>
    numbers(UPDATED_ROWS).map((row) => ({ id: conversationId(row), title: `Table ${title}` })),
  );
  const requests = ids.map((conversation) =>
    toBinary(UpdateConversationRequestSchema, create(UpdateConversationRequestSchema, { conversation })),
  );
  return { name: 'update', requests, markers: ids.map(({ id }) => id), leastAnswerBytes: 1 };
}

/** `coldRows` follow the hot ones. */
export function requestSets(coldRows: number): readonly RequestSet[] {
  const hot = reads('hot', numbers(HOT_ROWS));
  return [
    { ...hot, name: 'any', markers: [] },
    hot,
    reads('bounded', numbers(HOT_ROWS), { seconds: STALENESS_SECONDS, nanos: 0 }),
    reads('cold', numbers(coldRows, HOT_ROWS)),
    batches(),
    sends(),
    updates(),
  ];
}
