import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { ACCOUNT_SID, simulated, TEXT, twilioClient } from '../support/simulated.ts';

const SERVICE_SID = `MG${'b'.repeat(32)}`;

describe("Twilio's messages, through Twilio's SDK", () => {
  test('a text is accepted and answered as a resource', async () => {
    const { texts, simulator } = await simulated({ faults: { callbacks: false } });
    const created = await texts.create(TEXT);
    expect(created).toMatchObject({
      ...TEXT,
      accountSid: ACCOUNT_SID,
      status: 'queued',
      direction: 'outbound-api',
      numSegments: '1',
      numMedia: '0',
      errorCode: null,
      dateSent: null,
      messagingServiceSid: null,
    });
    expect(created.sid).toMatch(/^SM[0-9a-f]{32}$/);
    expect(created.dateCreated).toBeInstanceOf(Date);
    expect(simulator.journal.messages()).toMatchObject([
      {
        provider: 'twilio',
        providerMessageId: created.sid,
        ...TEXT,
        bodyDigest: createHash('sha256').update(`${TEXT.body}\0`).digest('hex'),
      },
    ]);
  });

  test('a text with media is an MMS', async () => {
    const { texts } = await simulated();
    const created = await texts.create({ ...TEXT, mediaUrl: ['https://example.com/a.png', 'https://example.com/b.png'] });
    expect(created.sid).toMatch(/^MM/);
    expect(created.numMedia).toBe('2');
  });

  test('a messaging service has no sender yet when it answers', async () => {
    const { texts } = await simulated();
    const { from, ...draft } = TEXT;
    const created = await texts.create({ ...draft, messagingServiceSid: SERVICE_SID });
    expect(created).toMatchObject({ from: null, status: 'accepted', numSegments: '0', messagingServiceSid: SERVICE_SID });
  });

  test.for([
    ['no recipient', { to: '' }, 21_604],
    ['a recipient that is no number', { to: '4155552671' }, 21_211],
    ["Twilio's own invalid number", { to: '+15005550001' }, 21_211],
    ["Twilio's own number that has opted out", { to: '+15005550004' }, 21_610],
    ['no sender', { from: '' }, 21_603],
    ['a sender that is none', { from: '+0' }, 21_212],
    ["Twilio's own sender that is not ours", { from: '+15005550007' }, 21_606],
    ['sender and recipient the same', { from: TEXT.to }, 21_266],
    ['neither body nor media', { body: '' }, 21_602],
    ['a body of 1,601 characters', { body: 'x'.repeat(1_601) }, 21_617],
    ['eleven media', { mediaUrl: Array.from({ length: 11 }, () => 'https://example.com/a.png') }, 21_623],
    ['media that is no URL', { mediaUrl: ['a.png'] }, 21_620],
    ['a callback that is no URL', { statusCallback: 'callback' }, 21_609],
    ['a callback of 4,001 characters', { statusCallback: `http://localhost/${'x'.repeat(3_984)}` }, 21_609],
    ['a validity of no time', { validityPeriod: 0 }, 20_001],
    ['a messaging service that is none', { messagingServiceSid: 'MG1' }, 21_701],
  ] as const)('%s is refused', async ([, change, code]) => {
    const { texts, simulator } = await simulated();
    const refused = texts.create({ ...TEXT, ...change, mediaUrl: 'mediaUrl' in change ? [...change.mediaUrl] : [] });
    await expect(refused).rejects.toMatchObject({ status: 400, code, moreInfo: `https://www.twilio.com/docs/errors/${code}` });
    expect(simulator.journal.messages()).toEqual([]);
    expect(simulator.journal.counts.refused).toBe(1);
  });

  test('1,600 characters beyond the basic plane are still one message', async () => {
    const { texts } = await simulated();
    const created = await texts.create({ ...TEXT, body: '😀'.repeat(1_600) });
    expect(created.numSegments).toBe('49');
    expect((await texts(created.sid).fetch()).body).toBe('😀'.repeat(1_600));
  });

  test('wrong credentials are refused', async () => {
    const { simulator } = await simulated();
    const create = twilioClient(simulator.url, 'wrong').messages.create(TEXT);
    await expect(create).rejects.toMatchObject({ status: 401, code: 20_003, message: 'Authenticate' });
  });

  test('a message is fetched as it is by then', async () => {
    let nowMs = Date.UTC(2026, 0, 1);
    const { texts } = await simulated({ now: () => nowMs, faults: { callbacks: false, callbackDelayMs: [1_000, 1_000] } });
    const { sid } = await texts.create(TEXT);
    expect(await texts(sid).fetch()).toMatchObject({ status: 'queued', dateSent: null });
    nowMs += 1_000;
    expect(await texts(sid).fetch()).toMatchObject({ status: 'sent', dateSent: new Date(nowMs), dateUpdated: new Date(nowMs) });
    nowMs += 1_000;
    expect(await texts(sid).fetch()).toMatchObject({ ...TEXT, sid, status: 'delivered', dateUpdated: new Date(nowMs) });
    await expect(texts(`SM${'0'.repeat(32)}`).fetch()).rejects.toMatchObject({ status: 404, code: 20_404 });
  });

  test('one that ends badly says why', async () => {
    const { texts, simulator } = await simulated({ faults: { phoneOutcome: { undelivered: 1 } } });
    const { sid } = await texts.create(TEXT);
    await simulator.idle();
    expect(await texts(sid).fetch()).toMatchObject({
      status: 'undelivered',
      errorCode: 30_003,
      errorMessage: 'Unreachable destination handset',
    });
  });
});

describe("Twilio's list of messages", () => {
  const others = { ...TEXT, to: '+14155552672' };

  test('is newest first, by recipient and sender', async () => {
    const { texts } = await simulated();
    const first = await texts.create(TEXT);
    await texts.create(others);
    const last = await texts.create(TEXT);
    const sids = (await texts.list({ to: TEXT.to })).map(({ sid }) => sid);
    expect(sids).toEqual([last.sid, first.sid]);
    expect(await texts.list({ from: others.from })).toHaveLength(3);
    expect(await texts.list({ from: '+14155550199' })).toEqual([]);
  });

  test('takes times of sending from, until and on', async () => {
    const startMs = Date.UTC(2026, 0, 1, 12);
    let nowMs = startMs;
    const { texts } = await simulated({ now: () => nowMs, faults: { callbacks: false } });
    const sids: string[] = [];
    for (const afterMs of [0, 10_900, 86_400_000]) {
      nowMs = startMs + afterMs;
      sids.push((await texts.create(TEXT)).sid);
    }
    const [first, second, third] = sids;
    const listed = async (filter: Parameters<typeof texts.list>[0]) => (await texts.list(filter)).map(({ sid }) => sid);
    const second10 = new Date(startMs + 10_000);
    expect(await listed({ dateSentAfter: second10 })).toEqual([third, second]);
    expect(await listed({ dateSentBefore: second10 })).toEqual([second, first]);
    expect(await listed({ dateSent: second10 })).toEqual([second]);
    expect(await listed({ dateSent: '2026-01-01' as unknown as Date })).toEqual([second, first]);
  });

  test('comes in pages that follow each other, whatever is sent meanwhile', async () => {
    const { texts } = await simulated();
    const sids: string[] = [];
    for (let sent = 0; sent < 5; sent += 1) sids.unshift((await texts.create(TEXT)).sid);
    const first = await texts.page({ to: TEXT.to, pageSize: 2 });
    await texts.create(TEXT);
    const second = await first.nextPage();
    const third = await second?.nextPage();
    expect([first, second, third].flatMap((page) => page?.instances.map(({ sid }) => sid))).toEqual(sids);
    expect(third?.nextPageUrl).toBeUndefined();
    expect(third?.previousPageUrl).toContain('Page=1');
    expect(await texts.list({ to: TEXT.to, pageSize: 2 })).toHaveLength(6);
  });

  test('does not know a message that is too young', async () => {
    let nowMs = Date.UTC(2026, 0, 1);
    const { texts } = await simulated({ now: () => nowMs, faults: { lookupLagMs: 5_000 } });
    const { sid } = await texts.create(TEXT);
    nowMs += 4_999;
    expect(await texts.list()).toEqual([]);
    await expect(texts(sid).fetch()).rejects.toMatchObject({ status: 404 });
    nowMs += 1;
    expect(await texts.list()).toHaveLength(1);
    expect((await texts(sid).fetch()).sid).toBe(sid);
  });
});
