/** send, get, list, watch, cancel, retry. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  CancelMessageResponseSchema,
  Direction,
  FailureReason,
  GetMessageResponseSchema,
  ListMessagesResponseSchema,
  type MessageFilterSchema,
  MessageInclude,
  MessageStatus,
  MessageType,
  type OutboundMessageSchema,
  PreviewMessageResponseSchema,
  Provider,
  RetryMessageResponseSchema,
  SendMessageResponseSchema,
  WatchMessagesResponseSchema,
} from '../client/messaging-client.ts';
import { type Arguments, namesOf, type Options, UsageError } from './arguments.ts';
import type { Command, Run } from './command.ts';
import { eventCells, eventColumns, messageCells, messageColumns, messageFields, words } from './message-text.ts';
import { jsonOf } from './output.ts';
import { listOf, noteRest, pageOptions } from './pages.ts';

export const filterOptions: Options = {
  conversation: { value: 'ID', multiple: true, about: 'of this conversation; may be repeated' },
  participant: { value: 'ADDRESS', about: 'from or to this address' },
  status: { value: 'STATUS', multiple: true, about: `${namesOf(MessageStatus).join(', ')}; may be repeated` },
  direction: { value: 'DIRECTION', about: namesOf(Direction).join(', ') },
  type: { value: 'TYPE', multiple: true, about: `${namesOf(MessageType).join(', ')}; may be repeated` },
  reason: {
    value: 'REASON',
    multiple: true,
    about: 'failed for this reason; may be repeated. msgctl dead-letter list has the most wanted',
  },
  since: { value: 'TIME', about: 'created at this time or later' },
  until: { value: 'TIME', about: 'created before this time' },
  'provider-id': { value: 'ID', about: 'what the provider calls it' },
};

export function filterOf(args: Arguments): MessageInitShape<typeof MessageFilterSchema> {
  const [createdAfter, createdBefore] = [args.time('since'), args.time('until')];
  return {
    conversationIds: [...args.texts('conversation')],
    statuses: args.choices<MessageStatus>('status', MessageStatus),
    messageTypes: args.choices<MessageType>('type', MessageType),
    direction: args.choice<Direction>('direction', Direction) ?? Direction.UNSPECIFIED,
    failureReasons: args.choices<FailureReason>('reason', FailureReason),
    address: args.text('participant') ?? '',
    providerMessageId: args.text('provider-id') ?? '',
    ...(createdAfter && { createdAfter }),
    ...(createdBefore && { createdBefore }),
  };
}

/** `-`: standard input. */
function fileText(args: Arguments, option: string): string | undefined {
  const path = args.text(option);
  if (path === undefined) return undefined;
  try {
    return readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (error) {
    throw new UsageError(`--${option} ${path} cannot be read: ${(error as NodeJS.ErrnoException).code ?? String(error)}.`);
  }
}

function outboundOf(args: Arguments): MessageInitShape<typeof OutboundMessageSchema> {
  const [text, file, html] = [args.text('body'), fileText(args, 'body-file'), fileText(args, 'html-file')];
  if (text !== undefined && file !== undefined) throw new UsageError('--body and --body-file exclude each other.');
  const [subject, sendAt] = [args.text('subject'), args.time('send-at')];
  return {
    fromAddress: args.required('from'),
    toAddress: args.required('to'),
    body: text ?? file ?? '',
    messageType: args.choice<MessageType>('type', MessageType) ?? MessageType.UNSPECIFIED,
    conversationId: args.text('conversation') ?? '',
    attachments: args.texts('attachment').map((url) => ({ url })),
    ...(subject === undefined && html === undefined ? {} : { email: { subject: subject ?? '', htmlBody: html ?? '' } }),
    ...(sendAt && { sendAt }),
  };
}

async function preview({ client, args, output, signal }: Run): Promise<void> {
  const response = await client.messages.previewMessage({ message: outboundOf(args) }, { signal });
  if (output.json) output.document(jsonOf(PreviewMessageResponseSchema, response));
  else
    output.fields({
      from: response.fromAddress,
      to: response.toAddress,
      type: words(MessageType[response.messageType]),
      provider: words(Provider[response.provider]),
      segments: response.segmentation === undefined ? '' : String(response.segmentation.segmentCount),
      'opted out': response.suppressed ? 'yes: sending would be refused' : 'no',
      conversation: response.conversationId || 'a new one',
    });
}

const send: Command = {
  name: 'send',
  about: 'send a message',
  more: 'Repeating it with the same --request-id sends once. It is handed to its provider afterwards; msgctl watch shows how it fares.',
  options: {
    from: { value: 'ADDRESS', about: 'sender: one of ours' },
    to: { value: 'ADDRESS', about: 'recipient: a phone number such as +14155552672, or an email address' },
    body: { value: 'TEXT', about: 'the text' },
    'body-file': { value: 'FILE', about: 'file that has the text; - for standard input' },
    subject: { value: 'TEXT', about: 'of an email' },
    'html-file': { value: 'FILE', about: 'HTML part of an email' },
    attachment: { value: 'URL', multiple: true, about: 'https URL of a file; may be repeated' },
    type: { value: 'TYPE', about: `${namesOf(MessageType).join(', ')}; derived when not given` },
    conversation: { value: 'ID', about: 'put it into this conversation' },
    'send-at': { value: 'TIME', about: 'not before this time' },
    'request-id': { value: 'UUID', about: 'idempotency key; a new one when not given' },
    preview: { about: 'only show what would be sent' },
  },
  async run(run) {
    const { client, args, output, signal } = run;
    args.exactly();
    if (args.flag('preview')) return preview(run);
    const request = { message: outboundOf(args), requestId: args.text('request-id') ?? randomUUID() };
    const response = await client.messages.sendMessage(request, { signal });
    if (output.json) output.document(jsonOf(SendMessageResponseSchema, response));
    else if (response.message !== undefined) {
      output.fields(messageFields(response.message, ''));
      if (response.replayed) output.note('It had been sent before: the request id was used already.');
    }
  },
};

const get: Command = {
  name: 'get',
  takes: 'ID',
  about: 'show a message',
  options: { events: { about: 'its history too, oldest first' } },
  async run({ client, args, output, signal }) {
    const [id = ''] = args.exactly('ID');
    let source = '';
    const include = args.flag('events') ? [MessageInclude.EVENTS] : [];
    const onHeaders = (headers: Readonly<Record<string, string>>) => {
      source = headers['x-cache'] ?? '';
    };
    const response = await client.messages.getMessage({ id, include }, { signal, onHeaders });
    if (output.json) output.document(jsonOf(GetMessageResponseSchema, response));
    else if (response.message !== undefined) {
      output.fields(messageFields(response.message, source));
      if (response.events.length > 0) output.title('History');
      if (response.events.length > 0) output.table(eventColumns, response.events.map(eventCells));
    }
  },
};

export async function listMessages(run: Run, filter: MessageInitShape<typeof MessageFilterSchema>): Promise<void> {
  const { client, args, output, signal } = run;
  args.exactly();
  const listed = await listOf(args, async (page) => {
    const { messages, nextPageToken } = await client.messages.listMessages({ filter, ...page }, { signal });
    return { items: messages, nextPageToken };
  });
  const { items, nextPageToken } = listed;
  if (output.json)
    output.document(jsonOf(ListMessagesResponseSchema, create(ListMessagesResponseSchema, { messages: [...items], nextPageToken })));
  else output.table(messageColumns, listed.items.map(messageCells));
  noteRest(output, listed);
}

const list: Command = {
  name: 'list',
  about: 'list messages, newest first',
  options: { ...filterOptions, ...pageOptions },
  run: (run) => listMessages(run, filterOf(run.args)),
};

const watch: Command = {
  name: 'watch',
  about: 'print what happens to messages, until Ctrl-C',
  more: 'With --json each line is a WatchMessagesResponse; --resume-token with the resumeToken of the last one goes on from there.',
  options: {
    ...filterOptions,
    initial: { about: 'first the messages that match now' },
    'resume-token': { value: 'TOKEN', about: 'go on after this one; with the same filter' },
    count: { value: 'N', about: 'end after this many changes' },
  },
  endless: true,
  async run({ client, args, output, signal }) {
    args.exactly();
    const request = { filter: filterOf(args), resumeToken: args.text('resume-token') ?? '', includeInitialState: args.flag('initial') };
    let left = args.integer('count', 1, 1_000_000_000) ?? Number.POSITIVE_INFINITY;
    for await (const item of client.messages.watchMessages(request, { signal })) {
      if (output.json) output.jsonLine(jsonOf(WatchMessagesResponseSchema, item));
      if (item.payload.case !== 'change' || item.payload.value.message === undefined) continue;
      const { message, event } = item.payload.value;
      const [, what = '', attempt = '', status = '', said = '', failure = ''] = event === undefined ? [] : eventCells(event);
      const facts = [what || 'is', status || words(MessageStatus[message.status]), attempt && `attempt ${attempt}`, said, failure];
      if (!output.json) output.line([message.id, ...facts.filter((fact) => fact !== '')].join('  '));
      left -= 1;
      if (left <= 0) break;
    }
  },
};

const cancel: Command = {
  name: 'cancel',
  takes: 'ID',
  about: 'cancel a message that no provider has been asked to carry yet',
  async run({ client, args, output, signal }) {
    const [id = ''] = args.exactly('ID');
    const response = await client.messages.cancelMessage({ id }, { signal });
    if (output.json) output.document(jsonOf(CancelMessageResponseSchema, response));
    else if (response.message !== undefined) output.fields(messageFields(response.message, ''));
  },
};

const retry: Command = {
  name: 'retry',
  takes: 'ID',
  about: 'start a new attempt at a failed message',
  options: { force: { about: 'even when it may reach the recipient twice, or its failure says that trying again is of no use' } },
  async run({ client, args, output, signal }) {
    const [id = ''] = args.exactly('ID');
    const response = await client.messages.retryMessage({ id, force: args.flag('force'), requestId: randomUUID() }, { signal });
    if (output.json) output.document(jsonOf(RetryMessageResponseSchema, response));
    else if (response.message !== undefined) output.fields(messageFields(response.message, ''));
  },
};

export const messageCommands: readonly Command[] = [send, get, list, watch, cancel, retry];
