import { describe, expect, test } from 'vitest';
import { ACCOUNT_SID, AUTH_TOKEN, formOf, hasSendGridSignature, hasTwilioSignature, simulated, TEXT } from '../support/simulated.ts';
import type { RecordedRequest } from '../support/webhook-recorder.ts';

const INBOUND = { from: TEXT.to, to: TEXT.from };
const MAIL = { type: 'email', from: 'Ann <ann@example.org>', to: 'desk@example.com' } as const;

async function partsOf({ headers, body }: RecordedRequest): Promise<FormData> {
  return await new Response(Uint8Array.from(body), { headers: { 'content-type': headers['content-type'] ?? '' } }).formData();
}

describe('an inbound text', () => {
  test('is posted as Twilio posts it, signed', async () => {
    const { simulator, webhooks } = await simulated();
    const received = await simulator.receive({ type: 'sms', ...INBOUND, body: 'Yes, please & thanks 😀' });
    expect(received).toMatchObject({ ok: true, tries: 1, answer: { kind: 'answered', status: 200, body: '<Response/>' } });
    const [request] = webhooks.requests;
    if (request === undefined) throw new Error('nothing was posted');
    expect(request.path).toBe('/webhooks/twilio/inbound');
    expect(hasTwilioSignature(request, webhooks.url)).toBe(true);
    expect(formOf(request)).toMatchObject({
      MessageSid: received.providerMessageId,
      AccountSid: ACCOUNT_SID,
      ApiVersion: '2010-04-01',
      From: INBOUND.from,
      To: INBOUND.to,
      Body: 'Yes, please & thanks 😀',
      NumMedia: '0',
      NumSegments: '1',
    });
    expect(received.providerMessageId).toMatch(/^SM[0-9a-f]{32}$/);
    expect(formOf(request)).not.toHaveProperty('OptOutType');
  });

  test('with media lists them', async () => {
    const { simulator, webhooks } = await simulated();
    const media = ['image/png', 'video/mp4'].map((contentType) => ({ url: `https://api.twilio.com/${contentType}`, contentType }));
    await simulator.receive({ type: 'mms', ...INBOUND, media, providerMessageId: `MM${'1'.repeat(32)}` });
    expect(webhooks.requests.map(formOf)).toMatchObject([
      {
        MessageSid: `MM${'1'.repeat(32)}`,
        NumMedia: '2',
        MediaUrl0: media[0]?.url,
        MediaContentType0: 'image/png',
        MediaUrl1: media[1]?.url,
        MediaContentType1: 'video/mp4',
        Body: '',
      },
    ]);
  });

  test('is repeated while our webhook cannot take it, and is the same message each time', async () => {
    const { simulator, webhooks } = await simulated();
    webhooks.answerWith((_, index) => ([503, 'cut'] as const)[index] ?? 200);
    const received = await simulator.receive({ type: 'sms', ...INBOUND, body: 'Hi' });
    expect(received).toMatchObject({ ok: true, tries: 3 });
    expect(new Set(webhooks.requests.map((request) => formOf(request)['MessageSid']))).toEqual(new Set([received.providerMessageId]));
    // What follows the # is for Twilio, and not part of what is signed.
    expect(webhooks.requests.every((request) => hasTwilioSignature(request, webhooks.url))).toBe(true);
  });

  test('is lost when our webhook never takes it', async () => {
    const { simulator, webhooks } = await simulated();
    webhooks.answerWith(() => 503);
    const received = await simulator.receive({ type: 'sms', ...INBOUND, body: 'Hi' });
    expect(received).toMatchObject({ ok: false, tries: 6, answer: { status: 503 } });
  });

  test('goes nowhere when there is no webhook', async () => {
    const { simulator } = await simulated({ webhookUrl: undefined });
    const received = await simulator.receive({ type: 'sms', ...INBOUND, body: 'Hi' });
    expect(received).toMatchObject({ ok: false, answer: { kind: 'unanswered', reason: 'unaddressed' } });
  });

  test('of STOP ends what is sent to that number by that sender until START, with Advanced Opt-Out', async () => {
    const { simulator, webhooks, texts } = await simulated({
      twilio: { accountSid: ACCOUNT_SID, authToken: AUTH_TOKEN, advancedOptOut: true },
    });
    await simulator.receive({ type: 'sms', ...INBOUND, body: ' Stop ' });
    await expect(texts.create(TEXT)).rejects.toMatchObject({ code: 21_610 });
    await expect(texts.create({ ...TEXT, from: '+14155550101' })).resolves.toMatchObject({ status: 'queued' });
    await simulator.receive({ type: 'sms', ...INBOUND, body: 'HELP' });
    await expect(texts.create(TEXT)).rejects.toMatchObject({ code: 21_610 });
    await simulator.receive({ type: 'sms', ...INBOUND, body: 'START' });
    await expect(texts.create(TEXT)).resolves.toMatchObject({ status: 'queued' });
    await simulator.receive({ type: 'sms', ...INBOUND, body: 'stop it' });
    expect(webhooks.requests.map((request) => formOf(request)['OptOutType'])).toEqual(['STOP', 'HELP', 'START', undefined]);
  });
});

describe('an inbound mail', () => {
  test('is posted as Inbound Parse posts it, signed over its bytes', async () => {
    const { simulator, webhooks } = await simulated();
    const received = await simulator.receive({
      ...MAIL,
      cc: 'bob@example.org',
      subject: 'Tisch für zwei',
      body: 'Danke!\n',
      html: '<p>Danke!</p>',
      headers: { 'In-Reply-To': '<m-1@example.com>' },
    });
    expect(received).toMatchObject({ ok: true, tries: 1 });
    const [request] = webhooks.requests;
    if (request === undefined) throw new Error('nothing was posted');
    expect(request.path).toBe('/webhooks/sendgrid/inbound');
    expect(hasSendGridSignature(request)).toBe(true);
    const parts = Object.fromEntries(await partsOf(request)) as Record<string, string>;
    expect(parts).toMatchObject({
      from: MAIL.from,
      to: MAIL.to,
      cc: 'bob@example.org',
      subject: 'Tisch für zwei',
      text: 'Danke!\n',
      html: '<p>Danke!</p>',
      SPF: 'pass',
      attachments: '0',
    });
    expect(JSON.parse(parts['envelope'] ?? '')).toEqual({ to: ['desk@example.com'], from: 'ann@example.org' });
    expect(JSON.parse(parts['charsets'] ?? '')).toMatchObject({ subject: 'UTF-8', text: 'utf-8' });
    const headers = parts['headers']?.split('\n');
    expect(headers).toContain(`Message-ID: ${received.providerMessageId}`);
    expect(headers).toContain('In-Reply-To: <m-1@example.com>');
    expect(headers).toContain(`Subject: =?UTF-8?B?${Buffer.from('Tisch für zwei').toString('base64')}?=`);
  });

  test('brings its attachments as they are', async () => {
    const { simulator, webhooks } = await simulated();
    const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
    await simulator.receive({
      ...MAIL,
      attachments: [
        { filename: 'a "b".bin', contentType: 'application/octet-stream', content: bytes },
        { filename: 'c.txt', contentType: 'text/plain', content: Buffer.from('hello').toString('base64'), contentId: 'c1' },
      ],
    });
    const [request] = webhooks.requests;
    if (request === undefined) throw new Error('nothing was posted');
    const parts = await partsOf(request);
    expect(JSON.parse(String(parts.get('attachment-info')))).toEqual({
      attachment1: { filename: 'a "b".bin', name: 'a "b".bin', type: 'application/octet-stream' },
      attachment2: { filename: 'c.txt', name: 'c.txt', type: 'text/plain', 'content-id': 'c1' },
    });
    expect(JSON.parse(String(parts.get('content-ids')))).toEqual({ c1: 'attachment2' });
    const [first, second] = [parts.get('attachment1'), parts.get('attachment2')];
    if (!(first instanceof File) || !(second instanceof File)) throw new Error('attachments are files');
    expect(await first.bytes()).toEqual(bytes);
    expect([first.name, second.type, await second.text()]).toEqual(['a "b".bin', 'text/plain', 'hello']);
  });

  test('may be in another encoding, and says so', async () => {
    const { simulator, webhooks } = await simulated();
    await simulator.receive({ ...MAIL, body: 'für', charset: 'iso-8859-1' });
    const raw = webhooks.requests[0]?.body ?? Buffer.alloc(0);
    expect(raw.includes(Buffer.from('für', 'latin1'))).toBe(true);
    expect(raw.includes('"text":"iso-8859-1"')).toBe(true);
  });

  test('is lost when our webhook says 4xx', async () => {
    const { simulator, webhooks } = await simulated();
    webhooks.answerWith(() => 403);
    expect(await simulator.receive({ ...MAIL, body: 'Hi' })).toMatchObject({ ok: false, tries: 1 });
  });

  test('is posted again, the same bytes, when our webhook fails', async () => {
    const { simulator, webhooks } = await simulated();
    webhooks.answerWith((_, index) => ([503, 'cut'] as const)[index] ?? 200);
    expect(await simulator.receive({ ...MAIL, body: 'Hi' })).toMatchObject({ ok: true, tries: 3 });
    expect(new Set(webhooks.requests.map(({ body }) => body.toString('base64'))).size).toBe(1);
    expect(webhooks.requests.every(hasSendGridSignature)).toBe(true);
  });
});
