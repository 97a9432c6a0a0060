import { describe, expect, it } from 'vitest';
import type { Submission } from '../../src/domain/provider-client.ts';
import { answerJson, type HttpServer, makeCertificate, startHttp } from '../support/provider-servers.ts';
import { API_KEY, deliver, email, providerWorld, type WorldOptions } from '../support/provider-world.ts';
import { until } from '../support/until.ts';

const ID = 'hR3vX2Q4T_aU0Q1Yw';

const accepting = (): Promise<HttpServer> => startHttp((_seen, response) => void response.writeHead(202, { 'X-Message-Id': ID }).end());

async function jsonSentFor(submission: Submission, options: WorldOptions = {}): Promise<Record<string, unknown>> {
  await using server = await accepting();
  using world = await providerWorld('sendgrid', server.url, options);
  expect(await deliver(world, submission)).toEqual({ kind: 'accepted', providerMessageId: ID });
  return JSON.parse(server.seen[0]?.body ?? '{}');
}

describe('an email', () => {
  it('is posted with our key, and accepted by its X-Message-Id', async () => {
    await using server = await accepting();
    using world = await providerWorld('sendgrid', server.url);
    expect(await deliver(world, email())).toEqual({ kind: 'accepted', providerMessageId: ID });
    expect(server.seen).toHaveLength(1);
    expect(server.seen[0]).toMatchObject({ method: 'POST', url: { pathname: '/v3/mail/send' } });
    expect(server.seen[0]?.headers).toMatchObject({ authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' });
    expect(world.measured).toEqual(['sendgrid submit']);
  });

  it('has its addresses, subject, both bodies, and what its events bring back', async () => {
    expect(await jsonSentFor(email())).toEqual({
      from: { email: 'shop@example.com' },
      reply_to: { email: 'help@example.com' },
      subject: 'canary-subject',
      personalizations: [{ to: [{ email: 'ada@example.org' }] }],
      content: [
        { type: 'text/plain', value: 'canary-body' },
        { type: 'text/html', value: '<p>canary-html</p>' },
      ],
      custom_args: { message_id: '0199c3a0-0000-7000-8000-000000000001', message_attempt: '1' },
    });
  });

  it.each([
    ['text', { body: 'a', html: '' }, ['text/plain']],
    ['HTML', { body: '', html: '<p>a</p>' }, ['text/html']],
    ['nothing', { body: '', html: '' }, ['text/plain']],
  ])('of %s alone has that as its content', async (_what, { body, html }, types) => {
    const sent = await jsonSentFor(email({ body, email: { subject: 's', htmlBody: html, replyTo: '', internetMessageId: '' } }));
    expect((sent['content'] as { type: string }[]).map(({ type }) => type)).toEqual(types);
    expect(sent).not.toHaveProperty('reply_to');
  });

  it('is sent to the path of an API that has one', async () => {
    await using server = await accepting();
    using world = await providerWorld('sendgrid', `${server.url}/sendgrid`);
    await deliver(world, email());
    expect(server.seen[0]?.url.pathname).toBe('/sendgrid/v3/mail/send');
  });
});

describe('attachments of an email', () => {
  const certificate = makeCertificate();
  const file = { contentType: 'image/png', filename: 'a.png', sizeBytes: 0, contentId: '' };
  const test = it.skipIf(certificate === undefined);

  test('are fetched first and sent along, inline when the HTML refers to them', async () => {
    await using files = await startHttp(({ url }, response) => response.end(`content of ${url.pathname}`), certificate);
    const attachments = [
      { ...file, url: `${files.url}/a` },
      { ...file, url: `${files.url}/b`, filename: '', contentType: '', contentId: 'logo' },
    ];
    const trusting = { ca: certificate?.cert ?? '', attachmentAddresses: ['127.0.0.1'] };
    const sent = await jsonSentFor(email({ attachments }), trusting);
    expect(sent['attachments']).toEqual([
      { content: btoa('content of /a'), filename: 'a.png', type: 'image/png', disposition: 'attachment' },
      {
        content: btoa('content of /b'),
        filename: 'attachment-2',
        type: 'application/octet-stream',
        disposition: 'inline',
        content_id: 'logo',
      },
    ]);
  });

  test('are of the type that the answer tells when the message tells none, without its parameters', async () => {
    const told = {
      '/pdf': 'application/pdf',
      '/svg': 'Image/SVG+XML; charset=utf-8',
      '/none': undefined,
      '/wrong': 'pdf',
      '/empty': '',
      '/long': `image/${'x'.repeat(122)}`,
    };
    const answer = new Map<string, string | undefined>(Object.entries(told));
    await using files = await startHttp(({ url }, response) => {
      const type = answer.get(url.pathname);
      response.writeHead(200, type === undefined ? {} : { 'Content-Type': type }).end('x');
    }, certificate);
    const attachments = Object.keys(told).map((path) => ({ ...file, url: `${files.url}${path}`, contentType: '' }));
    const trusting = { ca: certificate?.cert ?? '', attachmentAddresses: ['127.0.0.1'] };
    const sent = await jsonSentFor(email({ attachments: [...attachments, { ...file, url: `${files.url}/pdf` }] }), trusting);
    const types = (sent['attachments'] as readonly { readonly type: string }[]).map(({ type }) => type);
    const unknown = 'application/octet-stream';
    expect(types).toEqual(['application/pdf', 'image/svg+xml', unknown, unknown, unknown, unknown, 'image/png']);
  });

  test('that cannot be had keep it from being sent, and do not open the breaker', async () => {
    await using server = await accepting();
    await using files = await startHttp((_seen, response) => response.writeHead(404).end(), certificate);
    const trusting = { ca: certificate?.cert ?? '', attachmentAddresses: ['127.0.0.1'], breaker: { failuresToOpen: 1 } };
    using world = await providerWorld('sendgrid', server.url, trusting);
    expect(await deliver(world, email({ attachments: [{ ...file, url: `${files.url}/a` }] }))).toMatchObject({
      kind: 'rejected',
      failure: { reason: 'rejected', providerCode: 'ATTACHMENT_UNAVAILABLE' },
    });
    expect([server.seen.length, world.client.health().breaker, world.measured]).toEqual([0, 'closed', []]);
  });

  test('are not fetched while SendGrid is not asked', async () => {
    await using server = await startHttp((_seen, response) => answerJson(response, 500, {}));
    await using files = await startHttp((_seen, response) => void response.end('a'), certificate);
    const trusting = { ca: certificate?.cert ?? '', attachmentAddresses: ['127.0.0.1'], breaker: { failuresToOpen: 1 } };
    using world = await providerWorld('sendgrid', server.url, trusting);
    await deliver(world, email());
    const outcome = await deliver(world, email({ attachments: [{ ...file, url: `${files.url}/a` }] }));
    expect(outcome).toMatchObject({ kind: 'transient', failure: { providerCode: 'BREAKER_OPEN' } });
    expect(files.seen).toEqual([]);
  });

  it('at private addresses are refused', async () => {
    await using server = await accepting();
    using world = await providerWorld('sendgrid', server.url);
    expect(await deliver(world, email({ attachments: [{ ...file, url: 'https://169.254.169.254/latest' }] }))).toMatchObject({
      kind: 'rejected',
      failure: { providerCode: 'ATTACHMENT_FORBIDDEN' },
    });
    expect(server.seen).toEqual([]);
  });
});

async function lookedUp(messages: unknown, attempt = 1) {
  await using server = await startHttp((_seen, response) => answerJson(response, 200, { messages }));
  using world = await providerWorld('sendgrid', server.url);
  return { outcome: await world.client.lookUp(email({ attempt })), seen: server.seen };
}

describe('a lost email', () => {
  it('is looked for by our own id in the email activity', async () => {
    const { outcome, seen } = await lookedUp([]);
    expect(outcome).toEqual({ kind: 'absent' });
    expect(seen[0]).toMatchObject({ method: 'GET', url: { pathname: '/v3/messages' } });
    expect(Object.fromEntries(seen[0]?.url.searchParams ?? [])).toEqual({
      limit: '10',
      query: `(unique_args['message_id']="0199c3a0-0000-7000-8000-000000000001")`,
    });
  });

  it('is found by the X-Message-Id it would have been accepted with, oldest first', async () => {
    const { outcome } = await lookedUp([
      { msg_id: 'newer-id.recvd-5f54b5d587-8d9sp-1-5F5A-17.0', last_event_time: '2026-11-28T10:00:02Z' },
      { msg_id: '14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0', last_event_time: '2026-11-28T10:00:01Z' },
    ]);
    expect(outcome).toEqual({ kind: 'found', by: 'message_id', providerMessageIds: ['14c5d75ce93.dfd.64b469', 'newer-id'] });
  });

  it('is not taken for another attempt where attempts can be told apart', async () => {
    const { outcome } = await lookedUp(
      [
        { msg_id: 'first', last_event_time: '2026-11-28T10:00:01Z', unique_args: { message_attempt: '1' } },
        { msg_id: 'second', last_event_time: '2026-11-28T10:00:02Z', unique_args: { message_attempt: '2' } },
      ],
      2,
    );
    expect(outcome).toEqual({ kind: 'found', by: 'message_id', providerMessageIds: ['second'] });
  });

  it.each([401, 403, 404, 500])('cannot be looked for when the answer is %d', async (status) => {
    await using server = await startHttp((_seen, response) => answerJson(response, status, {}));
    using world = await providerWorld('sendgrid', server.url, { breaker: { failuresToOpen: 1 } });
    expect(await world.client.lookUp(email())).toEqual({ kind: 'unavailable' });
    // Where the activity is not part of the contract, email can be sent all the same.
    expect(world.client.health().breaker).toBe(status === 500 ? 'open' : 'closed');
  });

  it('is not what tells that SendGrid is back, since looking up may be refused to those who may send', async () => {
    await using server = await startHttp((_seen, response) => answerJson(response, 500, {}));
    using world = await providerWorld('sendgrid', server.url, { breaker: { failuresToOpen: 1, firstPauseMs: 50 } });
    await deliver(world, email());
    await until('the pause is over', () => world.client.unavailableForMs() === 0);
    expect(await world.client.lookUp(email())).toEqual({ kind: 'unavailable' });
    expect(server.seen).toHaveLength(1);
  });

  it('cannot be looked for when the answer is no list', async () => {
    expect((await lookedUp('none')).outcome).toEqual({ kind: 'unavailable' });
  });
});
