/** Every command of msgctl against the service, as a table and as JSON. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { type Calls, callsTo } from '../support/calls.ts';
import { createDatabase } from '../support/database.ts';
import { msgctl as runMsgctl, startMsgctl } from '../support/msgctl.ts';
import { type ServiceProcess, startService } from '../support/processes.ts';
import { until } from '../support/until.ts';

const opened = new AsyncDisposableStack();
let service: ServiceProcess;
let calls: Calls;
let database: pg.Client;
let env: Readonly<Record<string, string>>;

beforeAll(async () => {
  const { url } = opened.use(await createDatabase());
  const redis = inject('redis');
  const cache: Record<string, string> = redis === null ? {} : { REDIS_HOST: redis.host, REDIS_PORT: String(redis.port) };
  service = opened.use(await startService({ DATABASE_URL: url, CACHE_KEY_PREFIX: `${randomUUID()}:`, ...cache }));
  calls = callsTo(service);
  database = new pg.Client({ connectionString: url });
  await database.connect();
  opened.defer(() => database.end());
  env = { MSGCTL_ADDRESS: `127.0.0.1:${service.grpcPort}` };
});
afterAll(() => opened.disposeAsync());

async function msgctl(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runMsgctl(args, env);
  expect({ code, stderr: stderr.replaceAll(/^(rows|dead letters|webhook requests) {2}.*\n/gm, '') }).toEqual({ code: 0, stderr: '' });
  return stdout;
}
/** What a program would read. */
const json = async (...args: readonly string[]) => JSON.parse(await msgctl(...args, '--json'));
const jsonLines = async (...args: readonly string[]) =>
  (await msgctl(...args, '--json'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

let people = 0;
const somebody = (): string => `+1212555${2_000 + ++people}`;
const ours = '+14155552671';

/** As delivery leaves a message that it gives up. */
async function deadLetter(reason: string, retryable: boolean, toAddress = somebody()): Promise<string> {
  const { id } = await calls.send({ toAddress });
  const failure = { reason, providerCode: '', providerMessage: '', retryable };
  await database.query(`update messages set status = 'failed', failed_at = now(), failure = $2 where id = $1`, [id, failure]);
  return id;
}

describe('messages', () => {
  it('are sent once for a request id, and shown', async () => {
    const key = randomUUID();
    const to = somebody();
    const sent = await json('send', '--from', ours, '--to', to, '--body', 'Your table is ready.', '--request-id', key);
    expect(sent).toMatchObject({
      replayed: false,
      message: { toAddress: to, body: 'Your table is ready.', status: 'MESSAGE_STATUS_PENDING' },
    });
    const { id } = sent.message;
    const again = await runMsgctl(
      ['send', '--from', ours, '--to', to, '--body-file', '-', '--request-id', key],
      env,
      'Your table is ready.',
    );
    expect(again).toMatchObject({ code: 0, stdout: expect.stringMatching(new RegExp(`^id +${id}$`, 'm')) });
    expect(again.stderr).toContain('sent before');
    expect(await json('get', id, '--events')).toMatchObject({ message: { id }, events: [{ type: 'TYPE_CREATED' }] });
    const shown = await msgctl('get', id, '--events');
    expect(shown).toMatch(new RegExp(`^to +\\${to}$`, 'm'));
    expect(shown).toMatch(/^answered from +(hit|miss|bypass)$/m);
    expect(shown).toMatch(/^RECORDED +EVENT +ATTEMPT +STATUS/m);
    expect(shown).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ +created +pending$/m);
  });

  it('are previewed without being sent', async () => {
    const [to, draft] = [somebody(), ['send', '--preview', '--from', ours, '--body', 'hello']];
    expect(await json(...draft, '--to', to)).toMatchObject({ messageType: 'MESSAGE_TYPE_SMS', suppressed: false });
    expect(await msgctl(...draft, '--to', to)).toMatch(/^opted out +no$/m);
    expect(await json('list', '--participant', to)).toEqual({ messages: [], nextPageToken: '' });
  });

  it('are listed by filter, without their bodies in a table, and page by page', async () => {
    const toAddress = somebody();
    const ids = [];
    for (let index = 0; index < 3; index += 1) ids.unshift((await calls.send({ toAddress, body: 'a secret' })).id);
    const filter = [
      'list',
      '--participant',
      toAddress,
      '--status',
      'pending',
      '--status',
      'sent',
      '--direction',
      'outbound',
      '--type',
      'sms',
    ];
    const table = await msgctl(...filter);
    expect(table.split('\n').map((line) => line.split(' ')[0])).toEqual(['ID', ...ids, '']);
    expect(table).not.toContain('secret');
    const first = await json(...filter, '--limit', '2');
    const rest = await json(...filter, '--limit', '2', '--page-token', first.nextPageToken);
    expect([...first.messages, ...rest.messages].map(({ id }: { id: string }) => id)).toEqual(ids);
    expect((await runMsgctl([...filter, '--limit', '2'], env)).stderr).toContain('there are more');
    expect((await json(...filter, '--all')).messages).toHaveLength(3);
    expect((await json(...filter, '--until', '2020-01-01')).messages).toEqual([]);
  });

  it('are canceled, and sent again', async () => {
    const { id } = await calls.send({ toAddress: somebody() });
    expect(await msgctl('cancel', id)).toMatch(/^failure +canceled \(can be retried\)$/m);
    expect(await json('retry', id)).toMatchObject({ message: { id, status: 'MESSAGE_STATUS_PENDING' } });
    expect(await json('cancel', id)).toMatchObject({ message: { failure: { reason: 'FAILURE_REASON_CANCELED' } } });
    expect(await msgctl('retry', id)).toMatch(/^status +pending$/m);
  });

  it('are watched, until Ctrl-C', async () => {
    const toAddress = somebody();
    const watch = startMsgctl(['watch', '--participant', toAddress, '--json'], env);
    await until('the stream has begun', () => watch.stdout().includes('progress'));
    const { id } = await calls.send({ toAddress });
    await until('it is told', () => watch.stdout().includes(id));
    watch.kill('SIGINT');
    const { code, stdout } = await watch.ended;
    expect(code).toBe(0);
    const items = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(items.at(-1)).toMatchObject({ change: { message: { id }, event: { type: 'TYPE_CREATED' } } });
    const initial = await msgctl('watch', '--participant', toAddress, '--initial', '--count', '1');
    expect(initial).toBe(`${id}  is  pending\n`);
  });
});

it('conversations are listed, shown and searched', async () => {
  const toAddress = somebody();
  const { id, conversationId } = await calls.send({ toAddress, body: 'the albatross is late' });
  expect(await msgctl('conversations', 'list', '--participant', toAddress)).toMatch(new RegExp(`^${conversationId} +active +sms`, 'm'));
  expect(await json('conversations', 'list', '--participant', toAddress)).toMatchObject({ conversations: [{ id: conversationId }] });
  expect(await msgctl('conversations', 'get', conversationId)).toMatch(new RegExp(`^${id} +pending`, 'm'));
  expect(await json('conversations', 'get', conversationId)).toMatchObject({ conversation: { id: conversationId }, messages: [{ id }] });
  expect(await msgctl('conversations', 'search', 'albatross')).toMatch(new RegExp(`^${conversationId} .*albatross`, 'm'));
  expect(await json('conversations', 'search', 'albatross')).toMatchObject({ results: [{ messageId: id }] });
});

describe('dead letters', () => {
  it('are listed, and replayed by name', async () => {
    const participant = somebody();
    const [unknown, expired] = [await deadLetter('outcome_unknown', false, participant), await deadLetter('expired', true, participant)];
    await deadLetter('rejected', false, participant);
    const list = ['dead-letter', 'list', '--participant', participant];
    expect((await json(...list)).messages.map(({ id }: { id: string }) => id)).toEqual([expired, unknown]);
    expect(await msgctl(...list, '--reason', 'outcome-unknown')).toMatch(new RegExp(`^${unknown} +failed .* outcome unknown$`, 'm'));
    const refused = await runMsgctl(['dead-letter', 'replay', unknown, expired], env);
    expect(refused).toMatchObject({ code: 1, stdout: expect.stringContaining('1 of 2 replayed.') });
    expect(refused.stdout).toMatch(new RegExp(`^${unknown} +failed +NOT_RETRYABLE$`, 'm'));
    expect(await jsonLines('dead-letter', 'replay', unknown, '--force')).toEqual([{ id: unknown, result: 'done', detail: '' }]);
    expect((await json(...list)).messages).toEqual([]);
  });

  it('are replayed all at once; what may have been sent only with --force', async () => {
    const participant = somebody();
    const unknown = await deadLetter('outcome_unknown', false, participant);
    for (let index = 0; index < 20; index += 1) await deadLetter('attempts_exhausted', true, participant);
    const all = ['dead-letter', 'replay', '--all', '--participant', participant];
    const tried = await runMsgctl([...all, '--dry-run'], env);
    expect(tried).toMatchObject({ code: 0, stderr: '20 of 21 would be replayed.\n' });
    const { code, stdout, stderr } = await runMsgctl(all, env);
    expect({ code, last: stdout.trimEnd().split('\n').at(-1) }).toEqual({ code: 0, last: '20 of 21 replayed.' });
    expect(stdout).toMatch(new RegExp(`^${unknown} +skipped +may have been sent: --force$`, 'm'));
    // No terminal: a line for each tenth in place of the bar.
    expect(stderr.trimEnd().split('\n').at(-1)).toBe('dead letters  21 of 21');
    expect(stderr.split('\n').length).toBeLessThanOrEqual(12);
    expect(await msgctl(...all, '--force')).toBe('1 of 1 replayed.\n');
  });
});

it('webhook requests are listed and replayed', async () => {
  const ids = [randomUUID(), randomUUID()];
  for (const id of ids) {
    await database.query(
      `insert into webhook_requests (id, endpoint, provider, path, content_type, body, state, error, received_at)
      values ($1, 'twilio_status', 'twilio', '/webhooks/twilio/status', 'application/x-www-form-urlencoded', $2, 'quarantined', 'a report', now())`,
      [id, Buffer.from('MessageSid=SM0123456789abcdef0123456789abcdef&MessageStatus=sent&AccountSid=AC1')],
    );
  }
  const list = ['webhooks', 'list', '--state', 'quarantined'];
  expect((await json(...list)).webhookRequests.map(({ id }: { id: string }) => id).toSorted()).toEqual(ids.toSorted());
  expect(await msgctl(...list)).toMatch(new RegExp(`^${ids[0]} +quarantined .* a report$`, 'm'));
  expect(await msgctl('webhooks', 'replay', ids[0] ?? '')).toBe('1 of 1 replayed.\n');
  expect(await jsonLines('webhooks', 'replay', '--all', '--state', 'quarantined')).toEqual([{ id: ids[1], result: 'done', detail: '' }]);
  expect((await json(...list)).webhookRequests).toEqual([]);
});

describe('the cache', () => {
  it('is looked at, warmed and emptied', async () => {
    const { id } = await calls.send({ toAddress: somebody() });
    await until('it is trusted', async () => (await json('cache', 'stats')).trusted);
    expect(await msgctl('cache', 'stats')).toMatch(/^trusted +yes$/m);
    expect(await msgctl('cache', 'stats')).toMatch(/^last 5 min +- in flight +\d+ +\d+ +\d+ +\d+ +\d+\.\d %$/m);
    await msgctl('cache', 'invalidate', 'message', '--all');
    const warmed = await msgctl('cache', 'warm', 'message', '--count', '1000');
    expect(warmed).toMatch(/^(\d+) of \1 rows were not in the cache and are now\.\n$/);
    const items = await jsonLines('cache', 'warm', 'message', '--count', '1000');
    expect(items.at(-1)).toMatchObject({ loaded: '0', doneAt: expect.any(String) });
    expect(await msgctl('cache', 'inspect', 'message', id)).toMatch(/^equal to the row +yes$/m);
    expect(await json('cache', 'inspect', 'message', id)).toMatchObject({ kind: 'KIND_VALUE', equal: true });
    expect(await json('cache', 'invalidate', 'message', id)).toEqual({ dropped: '1' });
    expect(await msgctl('cache', 'inspect', 'message', id)).toMatch(/^kind +absent$/m);
  });

  it('that is being warmed says on Ctrl-C how to go on', async () => {
    for (let index = 0; index < 4; index += 1) await calls.send({ toAddress: somebody() });
    await msgctl('cache', 'invalidate', 'message', '--all');
    const warm = startMsgctl(['cache', 'warm', 'message', '--count', '1000', '--rate', '1', '--json'], env);
    await until('some rows are done', () => warm.stdout().includes('resumeToken'));
    warm.kill('SIGINT');
    expect(await warm.ended).toMatchObject({ code: 130 });
    const token = JSON.parse(warm.stdout().trimEnd().split('\n').at(-1) ?? '').resumeToken;
    expect(await msgctl('cache', 'warm', 'message', '--count', '1000', '--resume-token', token)).toContain('are now');
  });
});

it('the health of the service is told', async () => {
  expect(await msgctl('health')).toMatch(/^messaging\.v1\.MessageService +serving$/m);
  expect((await json('health')).statuses['']).toEqual({ status: 'SERVING' });
});
