import { describe, expect, test } from 'vitest';
import { MAIL, sendGridClient, simulated } from '../support/simulated.ts';

const PERSONALIZATION = { to: [{ email: MAIL.to }] };
const WHOLE = {
  personalizations: [PERSONALIZATION],
  from: { email: MAIL.from },
  subject: MAIL.subject,
  content: [{ type: 'text/plain', value: MAIL.text }],
};

interface ErrorAnswer {
  readonly code: number;
  readonly response: { readonly body: { readonly errors: readonly { readonly message: string; readonly field: string | null }[] } };
}

async function errorOf(request: Promise<unknown>): Promise<ErrorAnswer> {
  return await request.then(
    () => Promise.reject(new Error('it was accepted')),
    (error: ErrorAnswer) => error,
  );
}

describe("SendGrid's mail, through SendGrid's SDK", () => {
  test('a mail is accepted with 202, no body and an X-Message-Id', async () => {
    const { mails, simulator } = await simulated();
    const [answer] = await mails.send({ ...MAIL, customArgs: { message_id: 'm-1', message_attempt: '2' } });
    expect([answer.statusCode, answer.body]).toEqual([202, '']);
    const { 'x-message-id': id } = answer.headers as Record<string, string>;
    expect(id).toMatch(/^[\w-]{22}$/);
    const [accepted] = simulator.journal.ofMessage('m-1');
    expect(accepted).toMatchObject({
      provider: 'sendgrid',
      providerMessageId: id,
      attempt: 2,
      from: MAIL.from,
      to: MAIL.to,
      subject: MAIL.subject,
      body: MAIL.text,
    });
    expect(accepted?.provider === 'sendgrid' && accepted.sgMessageId).toMatch(new RegExp(`^${id}\\.filter`));
  });

  test('everything that the SDK can write is accepted', async () => {
    const { mails, simulator } = await simulated();
    await mails.send({
      from: { email: MAIL.from, name: 'The desk' },
      replyTo: 'reply@example.com',
      subject: MAIL.subject,
      text: MAIL.text,
      html: '<p>It is ready.</p>',
      personalizations: [
        { to: [{ email: 'one@example.org', name: 'One' }], cc: ['two@example.org'], customArgs: { message_id: 'first' } },
        { to: 'three@example.org', bcc: 'four@example.org', subject: 'Another', headers: { 'X-Kind': 'test' }, customArgs: { extra: '1' } },
      ],
      attachments: [{ content: 'SGVsbG8=', filename: 'hello.txt', type: 'text/plain', disposition: 'attachment', contentId: 'hello' }],
      customArgs: { message_id: 'shared' },
      headers: { 'X-Test': 'yes' },
      categories: ['tables'],
      sendAt: 1_900_000_000,
      asm: { groupId: 7 },
      trackingSettings: { clickTracking: { enable: false } },
    });
    const accepted = simulator.journal.messages().toReversed();
    expect(accepted.map(({ to, messageId, mediaCount }) => [to, messageId, mediaCount])).toEqual([
      ['one@example.org', 'first', 1],
      ['two@example.org', 'first', 1],
      ['three@example.org', 'shared', 1],
      ['four@example.org', 'shared', 1],
    ]);
    expect(accepted.map((message) => message.provider === 'sendgrid' && message.subject)).toEqual([
      MAIL.subject,
      MAIL.subject,
      'Another',
      'Another',
    ]);
  });

  test('a template needs neither subject nor content', async () => {
    const { mails } = await simulated();
    const [{ statusCode }] = await mails.send({ from: MAIL.from, to: MAIL.to, templateId: 'd-123' });
    expect(statusCode).toBe(202);
  });

  test('the sandbox checks and sends nothing', async () => {
    const { mails, simulator } = await simulated();
    const [{ statusCode }] = await mails.send({ ...MAIL, mailSettings: { sandboxMode: { enable: true } } });
    expect(statusCode).toBe(200);
    expect(simulator.journal.messages()).toEqual([]);
  });

  test.for([
    ['no recipients', { personalizations: [] }, 'personalizations'],
    ['a recipient without an address', { personalizations: [{ to: [{}] }] }, 'personalizations.0.to.0.email'],
    ['no to', { personalizations: [{ cc: [{ email: MAIL.to }] }] }, 'personalizations.0.to'],
    ['an address twice', { personalizations: [{ ...PERSONALIZATION, cc: [{ email: MAIL.to.toUpperCase() }] }] }, 'personalizations.0'],
    ['no sender', { from: undefined }, 'from.email'],
    ['a sender that is no address', { from: { email: 'desk' } }, 'from.email'],
    ['no subject', { subject: undefined }, 'subject'],
    ['no content', { content: [] }, 'content'],
    ['empty content', { content: [{ type: 'text/plain', value: '' }] }, 'content.0.value'],
    ['content of no type', { content: [{ value: 'x' }] }, 'content.0.type'],
    ['text after HTML', { content: [{ type: 'text/html', value: 'x' }, ...WHOLE.content] }, 'content.1.type'],
    ['an attachment that is not base64', { attachments: [{ content: '!', filename: 'a' }] }, 'attachments.0.content'],
    ['an attachment without a name', { attachments: [{ content: 'SGk=' }] }, 'attachments.0.filename'],
    ['arguments that are not strings', { custom_args: { attempt: 1 } }, 'custom_args'],
    [
      'arguments of 10,000 bytes',
      { personalizations: [{ ...PERSONALIZATION, custom_args: { a: 'x'.repeat(10_000) } }] },
      'personalizations.0.custom_args',
    ],
  ] as const)('%s is refused', async ([, change, field]) => {
    const { simulator } = await simulated();
    const request = { method: 'POST', url: '/v3/mail/send', body: { ...WHOLE, ...change } } as const;
    const { code, response } = await errorOf(sendGridClient(simulator.url).request(request));
    expect([code, response.body.errors]).toEqual([400, [{ message: expect.any(String), field, help: expect.any(String) }]]);
    expect(simulator.journal.messages()).toEqual([]);
  });

  test('the same without a change is accepted', async () => {
    const { activity } = await simulated();
    const [{ statusCode }] = await activity.request({ method: 'POST', url: '/v3/mail/send', body: WHOLE });
    expect(statusCode).toBe(202);
  });

  test('what is not JSON, and says so or not, is refused', async () => {
    const { simulator } = await simulated();
    const headers = { authorization: 'Bearer SG.the.key.of.the.tests', 'content-type': 'application/json' };
    const send = async (init: RequestInit) => (await fetch(`${simulator.url}/v3/mail/send`, { method: 'POST', headers, ...init })).status;
    expect(await send({ body: '{' })).toBe(400);
    expect(await send({ body: JSON.stringify(WHOLE), headers: { ...headers, 'content-type': 'text/plain' } })).toBe(415);
  });

  test('a wrong key is refused', async () => {
    const { simulator } = await simulated();
    const request = { method: 'POST', url: '/v3/mail/send', body: WHOLE } as const;
    const { code, response } = await errorOf(sendGridClient(simulator.url, 'SG.wrong').request(request));
    expect([code, response.body.errors[0]?.field]).toEqual([401, null]);
  });
});

describe("SendGrid's Email Activity", () => {
  async function sent() {
    let nowMs = Date.UTC(2026, 0, 1);
    const started = await simulated({ now: () => nowMs, faults: { callbackDelayMs: [1_000, 1_000], callbacks: false } });
    const ids: string[] = [];
    for (const to of ['one@example.org', 'two@example.org']) {
      const [{ headers }] = await started.mails.send({ ...MAIL, to, customArgs: { message_id: `for ${to}`, message_attempt: '1' } });
      ids.push((headers as Record<string, string>)['x-message-id'] ?? '');
    }
    const ask = async (query: string, limit = 10) => {
      const [{ body }] = await started.activity.request({ method: 'GET', url: '/v3/messages', qs: { query, limit } });
      return (body as { messages: readonly Record<string, unknown>[] }).messages;
    };
    return { ...started, ids, ask, pass: (ms: number) => (nowMs += ms) };
  }

  test('finds a message by our own arguments, and says what became of it', async () => {
    const { ask, ids, pass } = await sent();
    const query = `(unique_args['message_id']="for two@example.org")`;
    expect(await ask(query)).toEqual([
      {
        from_email: MAIL.from,
        to_email: 'two@example.org',
        subject: MAIL.subject,
        msg_id: expect.stringMatching(new RegExp(`^${ids[1]}\\.`)),
        status: 'processing',
        opens_count: 0,
        clicks_count: 0,
        last_event_time: '2026-01-01T00:00:00Z',
      },
    ]);
    pass(2_000);
    expect(await ask(query)).toMatchObject([{ status: 'delivered', last_event_time: '2026-01-01T00:00:02Z' }]);
  });

  test.for([
    ['the beginning of its id', (id: string) => `msg_id LIKE "${id}%"`, 1],
    ['its recipient', () => 'to_email="one@example.org"', 1],
    ['several of them', (id: string) => `(msg_id LIKE "${id}%") AND (unique_args['message_attempt']="1") AND status="processing"`, 1],
    ['some that contradict', (id: string) => `msg_id LIKE "${id}%" AND to_email="two@example.org"`, 0],
    ['an argument it does not have', () => `unique_args['other']="1"`, 0],
    ['a sender of both', () => 'from_email LIKE "%@example.com"', 2],
  ] as const)('takes %s', async ([, query, count]) => {
    const { ask, ids } = await sent();
    expect(await ask(query(ids[0] ?? ''))).toHaveLength(count);
  });

  test('gives no more than it is asked for, newest first', async () => {
    const { ask } = await sent();
    expect(await ask('from_email LIKE "desk%"', 1)).toMatchObject([{ to_email: 'two@example.org' }]);
  });

  test.for(['', 'anything', 'msg_id LIKE "x%" OR to_email="y"', 'no_such_field="x"', 'to_email="a" to_email="b"'])(
    'refuses the query %s',
    async (query) => {
      const { ask } = await sent();
      expect(await errorOf(ask(query))).toMatchObject({ code: 400 });
    },
  );

  test('counts opens, which leave the status alone', async () => {
    const { ask, simulator, ids, pass } = await sent();
    pass(2_000);
    await simulator.report({ providerMessageId: ids[0] ?? '', status: 'open' });
    expect(await ask('to_email="one@example.org"')).toMatchObject([{ status: 'delivered', opens_count: 1 }]);
  });
});
