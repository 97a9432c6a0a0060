/** What a caller passes -> the request that is sent, the same one in every attempt. */
import { clone, create, type DescMessage, type DescMethod, type Message, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { reflect } from '@bufbuild/protobuf/reflect';
import { isRepeatable } from './repeat.ts';

export interface PreparedRequest {
  readonly bytes: Uint8Array;
  /** See `isRepeatable`. */
  readonly repeatable: boolean;
  /** Methods that can be resumed take the token of the last answer. */
  resumedAt(token: string): Uint8Array;
}

/** Text of a field; undefined: there is no such field. */
function textOf(message: Message, schema: DescMessage, name: string): string | undefined {
  const field = schema.fields.find((candidate) => candidate.name === name);
  return field?.fieldKind === 'scalar' ? String(reflect(schema, message).get(field)) : undefined;
}

function setText(message: Message, schema: DescMessage, name: string, value: string): void {
  const field = schema.fields.find((candidate) => candidate.name === name);
  if (field !== undefined) reflect(schema, message).set(field, value);
}

/** The message itself, or those in its `requests`: whatever has a request_id. */
function keyed(message: Message, schema: DescMessage): readonly (readonly [Message, DescMessage])[] {
  if (schema.fields.some(({ name }) => name === 'request_id')) return [[message, schema]];
  const list = schema.fields.find(({ name }) => name === 'requests');
  if (list?.fieldKind !== 'list' || list.listKind !== 'message') return [];
  const inner = list.message;
  return [...reflect(schema, message).get(list)].flatMap((item) =>
    typeof item === 'object' && item !== null && 'message' in item ? keyed(item.message as Message, inner) : [],
  );
}

/** `newId` undefined: requests without a request_id stay without one. */
export function prepareRequest(
  method: DescMethod,
  request: MessageInitShape<DescMessage>,
  newId: (() => string) | undefined,
): PreparedRequest {
  const { input } = method;
  // The caller's own message is not touched.
  const message = clone(input, create(input, request));
  const parts = keyed(message, input);
  for (const [part, schema] of parts) {
    if (newId !== undefined && textOf(part, schema, 'request_id') === '') setText(part, schema, 'request_id', newId());
  }
  const hasRequestId = parts.length > 0 && parts.every(([part, schema]) => textOf(part, schema, 'request_id') !== '');
  const bytes = toBinary(input, message);
  return {
    bytes,
    repeatable: isRepeatable(method, hasRequestId, (textOf(message, input, 'etag') ?? '') !== ''),
    resumedAt(token) {
      if (token === '') return bytes;
      setText(message, input, 'resume_token', token);
      return toBinary(input, message);
    },
  };
}

const hasToken = ({ fields }: DescMessage): boolean => fields.some(({ name }) => name === 'resume_token');

/** Whether its stream can go on after an answer, in another call. */
export const isResumable = ({ input, output }: DescMethod): boolean => hasToken(input) && hasToken(output);

/** Where to go on after this answer; empty: it was the last one. */
export const tokenOf = (answer: Message, { output }: DescMethod): string => textOf(answer, output, 'resume_token') ?? '';
