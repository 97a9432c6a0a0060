/** WatchConversations: conversations as they are after each change, deletions, and tokens that are too old. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConversationStatus } from '../../gen/messaging/v1/conversation_pb.js';
import type { WatchConversationsRequestSchema, WatchConversationsResponse } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageType } from '../../gen/messaging/v1/message_pb.js';
import { openDatabase } from '../../src/db/database.ts';
import { startTestApp } from '../support/apps.ts';
import { type Calls, callsTo } from '../support/calls.ts';
import { createDatabase } from '../support/database.ts';
import { begun, follow, type Watcher } from '../support/watchers.ts';

type ConversationWatcher = Watcher<WatchConversationsResponse>;

const opened = new AsyncDisposableStack();
let url: string;
let calls: Calls;
beforeAll(async () => {
  url = opened.use(await createDatabase()).url;
  calls = callsTo(opened.use(await startTestApp({ DATABASE_URL: url })));
});
afterAll(() => opened.disposeAsync());

const { ACTIVE, ARCHIVED, CLOSED } = ConversationStatus;
const all = { statuses: [ACTIVE, ARCHIVED, CLOSED] };
const watch = (request: MessageInitShape<typeof WatchConversationsRequestSchema>): ConversationWatcher =>
  follow((signal) => calls.conversations.watchConversations(request, { signal }));
const present = ({ items }: ConversationWatcher) =>
  items.flatMap(({ payload }) => (payload.case === 'conversation' ? [payload.value] : []));
const deleted = ({ items }: ConversationWatcher) => items.flatMap(({ payload }) => (payload.case === 'deleted' ? [payload.value.id] : []));
const latest = (watcher: ConversationWatcher, id: string) => present(watcher).findLast((conversation) => conversation.id === id);
let numbers = 0;
function freshNumber(): string {
  numbers += 1;
  return `+1415555${5_000 + numbers}`;
}

describe('WatchConversations', () => {
  it('tells of a conversation after it has changed, by whatever, and of its deletion', async () => {
    const participant = freshNumber();
    await using watcher = await begun(watch({ filter: { ...all, participant } }));
    const { conversationId: id } = await calls.send({ toAddress: participant });
    await watcher.sees('the new one', () => latest(watcher, id)?.messageCount === 1n);
    await calls.conversations.archiveConversation({ id });
    await watcher.sees('that it is archived', () => latest(watcher, id)?.status === ARCHIVED);
    await calls.send({ toAddress: participant });
    await watcher.sees('the next message', () => latest(watcher, id)?.messageCount === 2n);
    expect(latest(watcher, id)).toEqual((await calls.readConversation(id)).conversation);
    const sql = new pg.Client({ connectionString: url });
    await sql.connect();
    await sql.query(`update conversations set title = 'by hand' where id = $1`, [id]);
    await sql.end();
    await watcher.sees('the title', () => latest(watcher, id)?.title === 'by hand');
    await calls.conversations.deleteConversation({ id });
    await watcher.sees('the deletion', () => deleted(watcher).includes(id));
    const sizes = present(watcher).map(({ messageCount }) => Number(messageCount));
    expect(sizes).toEqual(sizes.toSorted((a, b) => a - b));
  });

  it('tells only what matches: by the status ACTIVE unless told otherwise, deletions by participant and channel', async () => {
    const [mine, other] = [freshNumber(), freshNumber()];
    await using active = await begun(watch({ filter: { participant: mine } }));
    await using emails = await begun(
      watch({ filter: { participant: mine, channelType: MessageType.EMAIL }, progressInterval: { seconds: 1n } }),
    );
    const { conversationId: id } = await calls.send({ toAddress: mine });
    const { conversationId: otherId } = await calls.send({ toAddress: other });
    await calls.conversations.closeConversation({ id });
    await calls.conversations.deleteConversation({ id: otherId });
    await calls.conversations.deleteConversation({ id });
    await active.sees('the deletion', () => deleted(active).length > 0);
    expect(deleted(active)).toEqual([id]);
    expect(present(active).every((conversation) => conversation.id === id && conversation.status === ACTIVE)).toBe(true);
    const before = emails.items.length;
    await emails.sees('signs of life behind it', (items) => items.length >= before + 2);
    expect([...deleted(emails), ...present(emails)]).toEqual([]);
  });

  it('begins with those that match now', async () => {
    const participant = freshNumber();
    const { conversationId: first } = await calls.send({ toAddress: participant });
    const { conversation } = await calls.conversations.createConversation({
      participantFrom: '+14155552671',
      participantTo: participant,
      channelType: MessageType.SMS,
      newThread: true,
    });
    await using watcher = watch({ filter: { participant }, includeInitialState: true });
    await watcher.sees('that it is complete', (items) =>
      items.some(({ payload }) => payload.case === 'progress' && payload.value.initialStateComplete),
    );
    const ids = present(watcher).map(({ id }) => id);
    expect(new Set(ids)).toEqual(new Set([first, conversation?.id]));
    await calls.send({ toAddress: participant });
    await watcher.sees('the next change', () => latest(watcher, first)?.messageCount === 2n);
  });

  it('goes on after any item, until what came after it has been pruned', async () => {
    const participant = freshNumber();
    const filter = { ...all, participant };
    await using watcher = await begun(watch({ filter }));
    const { conversationId: id } = await calls.send({ toAddress: participant });
    await watcher.sees('the new one', () => latest(watcher, id) !== undefined);
    const resumeToken = watcher.token();
    await calls.conversations.updateConversation({ conversation: { id, title: 'one' } });
    await watcher.sees('the title', () => latest(watcher, id)?.title === 'one');
    await using resumed = watch({ filter, resumeToken });
    await resumed.sees('the title', () => latest(resumed, id)?.title === 'one');
    const last = watcher.token();

    await using database = await openDatabase({ url, poolMax: 1, statementTimeoutMs: 60_000, connectTimeoutMs: 60_000 });
    const { changeLog } = database;
    await expect
      .poll(
        async () => {
          await changeLog.pruneConversationLog(new Date(Date.now() + 60_000), 1_000);
          const { begin, end } = await changeLog.conversations.tail();
          return begin.frontier === end.frontier;
        },
        { timeout: 20_000 },
      )
      .toBe(true);
    const expired = await watch({ filter, resumeToken }).failure();
    expect(expired).toMatchObject({ code: 'OutOfRange', reason: 'RESUME_TOKEN_EXPIRED' });
    expect(expired.message).toContain('include_initial_state');
    // Nothing has come after this one, and those that are open notice nothing.
    await using rest = await begun(watch({ filter, resumeToken: last }));
    await calls.conversations.updateConversation({ conversation: { id, title: 'two' } });
    for (const open of [rest, watcher, resumed]) await open.sees('the next title', () => latest(open, id)?.title === 'two');
  });
});
