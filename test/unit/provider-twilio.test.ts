import { describe, expect, it } from 'vitest';
import { answerJson, type HttpServer, type Seen, startHttp } from '../support/provider-servers.ts';
import { ACCOUNT_SID, AUTH_TOKEN, deliver, providerWorld, sms } from '../support/provider-world.ts';
import { until } from '../support/until.ts';

const SID = `SM${'1'.repeat(32)}`;
const PATH = `/2010-04-01/Accounts/${ACCOUNT_SID}/Messages.json`;

const formOf = ({ body }: Seen) => new URLSearchParams(body);

const accepting = (): Promise<HttpServer> => startHttp((_seen, response) => answerJson(response, 201, { sid: SID, status: 'queued' }));

async function formSentFor(submission = sms(), publicUrl?: string): Promise<URLSearchParams> {
  await using server = await accepting();
  using world = await providerWorld('twilio', server.url, publicUrl === undefined ? {} : { publicUrl });
  expect(await deliver(world, submission)).toEqual({ kind: 'accepted', providerMessageId: SID });
  const [seen] = server.seen;
  if (seen === undefined) throw new Error('nothing was sent');
  return formOf(seen);
}

describe('an SMS', () => {
  it('is posted to the account with its credentials, and accepted by its SID', async () => {
    await using server = await accepting();
    using world = await providerWorld('twilio', server.url);
    expect(await deliver(world, sms())).toEqual({ kind: 'accepted', providerMessageId: SID });
    const [seen, ...others] = server.seen;
    expect(others).toEqual([]);
    expect(seen).toMatchObject({ method: 'POST', url: { pathname: PATH } });
    expect(seen?.headers.authorization).toBe(`Basic ${btoa(`${ACCOUNT_SID}:${AUTH_TOKEN}`)}`);
    expect(seen?.headers['content-type']).toMatch(/^application\/x-www-form-urlencoded/);
    expect(world.measured).toEqual(['twilio submit']);
  });

  it('has sender, recipient, text, validity and where to report to', async () => {
    expect(Object.fromEntries(await formSentFor())).toEqual({
      From: '+14155552671',
      To: '+14155552672',
      Body: 'canary-body',
      ValidityPeriod: '3600',
      StatusCallback:
        'https://messages.example.com/webhooks/twilio/status?message_id=0199c3a0-0000-7000-8000-000000000001&message_attempt=1#rc=5&rp=all',
    });
  });

  it('asks for no reports when nobody could reach us', async () => {
    expect((await formSentFor(sms(), '')).has('StatusCallback')).toBe(false);
  });

  it.each([
    [0, '1'],
    [1_999, '1'],
    [35_999_999, '35999'],
    [999_999_999, '36000'],
  ])('that may take %d ms has a validity of %s seconds', async (validityMs, seconds) => {
    expect((await formSentFor(sms({ validityMs }))).get('ValidityPeriod')).toBe(seconds);
  });

  it('is sent to the path of an API that has one', async () => {
    await using server = await accepting();
    using world = await providerWorld('twilio', `${server.url}/twilio`);
    await deliver(world, sms());
    expect(server.seen[0]?.url.pathname).toBe(`/twilio${PATH}`);
  });
});

describe('an MMS', () => {
  it('names the URLs of its attachments, for Twilio to get', async () => {
    const attachments = ['https://example.com/a.png', 'https://example.com/b.png'].map((url) => ({
      url,
      contentType: 'image/png',
      filename: '',
      sizeBytes: 0,
      contentId: '',
    }));
    const form = await formSentFor(sms({ messageType: 'mms', body: '', attachments }));
    expect(form.getAll('MediaUrl')).toEqual(attachments.map(({ url }) => url));
    expect(form.has('Body')).toBe(false);
  });
});

interface Listed {
  readonly sid: string;
  readonly created: string;
  readonly body?: string;
  readonly from?: string;
}

const listed = ({ sid, created, body = 'canary-body', from = '+14155552671' }: Listed) => ({
  sid,
  body,
  from,
  to: '+14155552672',
  date_created: new Date(created).toUTCString().replace('GMT', '+0000'),
});

function pages(...all: (readonly Listed[])[]): Promise<HttpServer> {
  return startHttp(({ url }, response) => {
    const index = Number(url.searchParams.get('Page') ?? 0);
    const next = index + 1 < all.length ? `${PATH}?Page=${index + 1}&PageToken=x` : null;
    answerJson(response, 200, { messages: (all[index] ?? []).map(listed), next_page_uri: next });
  });
}

async function lookedUp(server: HttpServer, lost = sms()) {
  using world = await providerWorld('twilio', server.url);
  return await world.client.lookUp(lost);
}

describe('a lost SMS', () => {
  it('is looked for by recipient and sender, and not by a time of sending, which what still waits does not have', async () => {
    await using server = await pages([]);
    expect(await lookedUp(server)).toEqual({ kind: 'absent' });
    expect(server.seen[0]).toMatchObject({ method: 'GET', url: { pathname: PATH } });
    expect(Object.fromEntries(server.seen[0]?.url.searchParams ?? [])).toEqual({
      To: '+14155552672',
      From: '+14155552671',
      PageSize: '100',
    });
  });

  it('is found by its exact text from a minute before it was sent, oldest first', async () => {
    await using server = await pages([
      { sid: 'SM5', created: '2026-11-28T10:00:09Z' },
      { sid: 'SM4', created: '2026-11-28T10:00:05Z', body: 'canary-body ' },
      { sid: 'SM3', created: '2026-11-28T10:00:01Z' },
      { sid: 'SM2', created: '2026-11-28T09:59:01Z' },
      { sid: 'SM1', created: '2026-11-28T09:58:59Z' },
    ]);
    expect(await lookedUp(server)).toEqual({ kind: 'found', by: 'content', providerMessageIds: ['SM2', 'SM3', 'SM5'] });
  });

  it('is looked for page by page until they are older than it', async () => {
    await using server = await pages(
      [{ sid: 'SM3', created: '2026-11-28T11:00:00Z', body: 'other' }],
      [
        { sid: 'SM2', created: '2026-11-28T10:00:01Z' },
        { sid: 'SM1', created: '2026-11-28T09:00:00Z' },
      ],
      [{ sid: 'SM0', created: '2026-11-28T08:00:00Z' }],
    );
    expect(await lookedUp(server)).toEqual({ kind: 'found', by: 'content', providerMessageIds: ['SM2'] });
    expect(server.seen).toHaveLength(2);
  });

  it('is not called absent when there are more pages than are looked through', async () => {
    await using server = await pages(
      ...Array.from({ length: 9 }, (_, index) => [{ sid: `SM${index}`, created: '2026-11-28T11:00:00Z', body: 'other' }]),
    );
    expect(await lookedUp(server)).toEqual({ kind: 'unavailable' });
    expect(server.seen).toHaveLength(5);
  });

  it('is not looked for elsewhere, with our credentials, because an answer says so', async () => {
    await using stranger = await pages([]);
    await using server = await startHttp(({ url }, response) => {
      const elsewhere = { next_page_url: `${stranger.url}${PATH}?Page=1` };
      answerJson(
        response,
        200,
        url.searchParams.has('Page')
          ? { messages: [] }
          : { messages: [listed({ sid: 'SM1', created: '2026-11-28T11:00:00Z', body: 'x' })], meta: elsewhere },
      );
    });
    expect(await lookedUp(server)).toEqual({ kind: 'absent' });
    expect([server.seen.length, stranger.seen.length]).toEqual([2, 0]);
  });

  it.each([
    [401, 'open'],
    [404, 'closed'],
    [429, 'closed'],
    [500, 'open'],
    [503, 'open'],
  ])('cannot be looked for when the answer is %d, after which the breaker is %s', async (status, breaker) => {
    await using server = await startHttp((_seen, response) => answerJson(response, status, {}));
    using world = await providerWorld('twilio', server.url, { breaker: { failuresToOpen: 1 } });
    expect(await world.client.lookUp(sms())).toEqual({ kind: 'unavailable' });
    expect(world.client.health().breaker).toBe(breaker);
  });

  it('can be what tells that Twilio is back', async () => {
    let status = 500;
    await using server = await startHttp((_seen, response) => answerJson(response, status, { messages: [] }));
    using world = await providerWorld('twilio', server.url, { breaker: { failuresToOpen: 1, firstPauseMs: 50 } });
    await world.client.lookUp(sms());
    await until('the pause is over', () => world.client.unavailableForMs() === 0);
    status = 200;
    expect(await world.client.lookUp(sms())).toEqual({ kind: 'absent' });
    expect(world.client.health().breaker).toBe('closed');
  });

  it('cannot be looked for when the answer is no list', async () => {
    await using server = await startHttp((_seen, response) => response.end('<html>'));
    expect(await lookedUp(server)).toEqual({ kind: 'unavailable' });
  });
});
