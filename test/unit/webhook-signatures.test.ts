/** Signatures of providers, by the examples that they publish and by keys of our own. */
import { EventWebhook } from '@sendgrid/eventwebhook';
import { getExpectedTwilioSignature } from 'twilio/lib/webhooks/webhooks.js';
import { describe, expect, it } from 'vitest';
import type { SignedWebhook } from '../../src/domain/webhook-ports.ts';
import { sendgridVerifier } from '../../src/providers/sendgrid-webhook.ts';
import { twilioVerifier } from '../../src/providers/twilio-webhook.ts';
import { webhookVerifier } from '../../src/providers/webhooks.ts';
import {
  authToken,
  eventsBody,
  MULTIPART,
  mailFields,
  multipartBody,
  newSigningKey,
  type Posted,
  publicUrl,
  type SigningKey,
  sendgridPost,
  twilioPost,
  twilioStatus,
} from '../support/signed-webhooks.ts';

const webhookOf = (posted: Posted, changes: Partial<SignedWebhook> = {}): SignedWebhook => {
  return { ...posted, contentType: posted.headers['content-type'] ?? '', ...changes };
};

describe("Twilio's signature", () => {
  // From Twilio's documentation of request validation, and the tests of its SDKs.
  const example: SignedWebhook = {
    endpoint: 'twilio_status',
    path: '/myapp.php?foo=1&bar=2',
    contentType: 'application/x-www-form-urlencoded',
    headers: { 'x-twilio-signature': 'RSOYDt4T1cUTdK1PDd93/VVr8B8=' },
    body: Buffer.from('CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212'),
  };
  const verify = twilioVerifier({ publicUrl: 'https://mycompany.com', authTokens: ['12345'] });

  it('of the published example is good', async () => {
    expect(await verify(example)).toBe('authentic');
    expect(await twilioVerifier({ publicUrl: 'https://mycompany.com', authTokens: ['other', '12345'] })(example)).toBe('authentic');
  });

  it.each<readonly [string, Partial<SignedWebhook>]>([
    ['another path', { path: '/myapp.php?foo=1&bar=3' }],
    ['another body', { body: Buffer.from(`${Buffer.from(example.body)}&Digits=5`) }],
    ['no body', { body: Buffer.of() }],
    ['another signature', { headers: { 'x-twilio-signature': 'RSOYDt4T1cUTdK1PDd93/VVr8B9=' } }],
    ['an empty signature', { headers: { 'x-twilio-signature': '' } }],
    ['no signature', { headers: {} }],
    ['two signatures', { headers: { 'x-twilio-signature': ['RSOYDt4T1cUTdK1PDd93/VVr8B8=', 'RSOYDt4T1cUTdK1PDd93/VVr8B8='] } }],
  ])('of the published example is bad with %s', async (_what, changes) => {
    expect(await verify({ ...example, ...changes })).toBe('forged');
  });

  it.each([
    ['another token', { publicUrl: 'https://mycompany.com', authTokens: ['54321'] }],
    ['another public URL', { publicUrl: 'https://mycompany.org', authTokens: ['12345'] }],
  ])('is never good with %s', async (_what, options) => {
    expect(await twilioVerifier(options)(example)).toBe('forged');
  });

  it.each([
    ['no token', { publicUrl: 'https://mycompany.com', authTokens: [] }],
    ['no public URL', { publicUrl: '', authTokens: ['12345'] }],
    ['a public URL that is none', { publicUrl: 'mycompany', authTokens: ['12345'] }],
  ])('cannot be checked with %s, whatever it is', async (_what, options) => {
    expect(await twilioVerifier(options)(example)).toBe('unverifiable');
    expect(await twilioVerifier(options)({ ...example, headers: {} })).toBe('unverifiable');
  });

  it('covers parameters in any script, and all values of one that comes twice', async () => {
    const ours = twilioVerifier({ publicUrl, authTokens: [authToken] });
    const form = Object.fromEntries([
      ['Body', 'Grüße 👋 &=+%'],
      ['__proto__', 'x'],
    ]);
    expect(await ours(webhookOf(twilioPost('twilio_inbound', form)))).toBe('authentic');
    const path = '/webhooks/twilio/inbound';
    const signature = getExpectedTwilioSignature(authToken, `${publicUrl}${path}`, { MediaUrl: ['b', 'a'] });
    const twice = { ...example, path, headers: { 'x-twilio-signature': signature } };
    expect(await ours({ ...twice, body: Buffer.from('MediaUrl=b&MediaUrl=a') })).toBe('authentic');
    expect(await ours({ ...twice, body: Buffer.from('MediaUrl=b') })).toBe('forged');
  });

  describe('of a form with many parameters', () => {
    const ours = twilioVerifier({ publicUrl, authTokens: [authToken] });
    const formOf = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, index) => [index.toString(36), '']));

    it('is good up to 1,000 of them', async () => {
      expect(await ours(webhookOf(twilioPost('twilio_inbound', formOf(1_000))))).toBe('authentic');
      expect(await ours(webhookOf(twilioPost('twilio_inbound', formOf(1_001))))).toBe('forged');
    });

    it('is not computed for more, which anybody may post', async () => {
      expect(await ours(webhookOf(twilioPost('twilio_inbound', formOf(260_000))))).toBe('forged');
    });

    it('is not looked for without a token', async () => {
      const unread: SignedWebhook = Object.defineProperty({ ...example }, 'body', {
        get: () => expect.unreachable('the body is read'),
      });
      expect(await twilioVerifier({ publicUrl, authTokens: [] })(unread)).toBe('unverifiable');
    });
  });

  it('covers a body that is no form by the digest in the query', async () => {
    const ours = twilioVerifier({ publicUrl, authTokens: [authToken] });
    const path = `/webhooks/twilio/status?bodySHA256=${'0'.repeat(64)}`;
    const signature = getExpectedTwilioSignature(authToken, `${publicUrl}${path}`, {});
    const json = { ...example, path, headers: { 'x-twilio-signature': signature }, body: Buffer.from('{}') };
    expect(await ours(json)).toBe('forged');
    const right = path.replace(/[0-9a-f]{64}$/, '44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a');
    const signed = getExpectedTwilioSignature(authToken, `${publicUrl}${right}`, {});
    expect(await ours({ ...json, path: right, headers: { 'x-twilio-signature': signed } })).toBe('authentic');
  });
});

/** From the tests of @sendgrid/eventwebhook; the order of the fields is part of what was signed. */
const published = [
  {
    publicKey:
      'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==',
    signature: 'MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=',
    timestamp: '1600112502',
    body: `${JSON.stringify([
      {
        email: 'hello@world.com',
        event: 'dropped',
        reason: 'Bounced Address',
        sg_event_id: 'ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA',
        sg_message_id: 'LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0',
        'smtp-id': '<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>',
        timestamp: 1600112492,
      },
    ])}\r\n`,
  },
  {
    publicKey:
      'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQ4LIFtWztlsF7skFqOncjD1lun4H5w8XOhyOArHW9RcIx/FfEzx6cikC/yPfUvwaX/JScE7Fc9CJD2afQ9Ok3Q==',
    signature: 'MEYCIQC/I4o6vCgqRYrTljjoVWB/GRWNtxeePlLMHr3x9ETeRQIhAIpV+03nREPTTHWSW0wIOA0EoMPdcNgXa70yCaqDJlu5',
    timestamp: '1619651159',
    body: `${JSON.stringify([
      {
        email: 'invalid@gmail.com',
        event: 'processed',
        send_at: 0,
        sg_event_id: 'cHJvY2Vzc2VkLTE5OTQyMTEyLXFOd0JMZ1BRUWpXNkRKdktRd1NBYnctMA',
        sg_message_id: 'qNwBLgPQQjW6DJvKQwSAbw.filterdrecv-canary-547b64655b-cw6zx-1-6089EA4A-56.0',
        'smtp-id': '<qNwBLgPQQjW6DJvKQwSAbw@ismtpd0178p1mdw1.sendgrid.net>',
        timestamp: 1619651146,
      },
      {
        email: 'invalid@gmail.com',
        event: 'bounce',
        ip: '167.89.101.76',
        reason:
          '552 5.2.2 The email account that you tried to reach is over quota and inactive. Please direct the recipient to https://support.google.com/mail/?p=OverQuotaPerm c17si1130468pgv.34 - gsmtp',
        sg_event_id: 'Ym91bmNlLTAtMTk5NDIxMTItcU53QkxnUFFRalc2REp2S1F3U0Fidy0w',
        sg_message_id: 'qNwBLgPQQjW6DJvKQwSAbw.filterdrecv-canary-547b64655b-cw6zx-1-6089EA4A-56.0',
        'smtp-id': '<qNwBLgPQQjW6DJvKQwSAbw@ismtpd0178p1mdw1.sendgrid.net>',
        status: '5.2.2',
        timestamp: 1619651147,
        tls: 1,
        type: 'blocked',
      },
    ])
      .split('},{')
      .join('},\r\n{')}\r\n`,
  },
] as const;

const ENDPOINTS = ['sendgrid_events', 'sendgrid_inbound'] as const;

describe.each(ENDPOINTS)("SendGrid's signature at %s", (endpoint) => {
  const at = new Date('2026-05-01T12:00:00.000Z');
  const key = newSigningKey();
  const verify = sendgridVerifier({ publicKeys: [key.publicKey], now: () => at });
  const body =
    endpoint === 'sendgrid_events' ? eventsBody([{ event: 'delivered', reason: 'zugestellt: größer 👋' }]) : multipartBody(mailFields());
  const postOf = (by: SigningKey = key, signedAt = at) => sendgridPost({ endpoint, contentType: MULTIPART, body, key: by, at: signedAt });

  it('of the published examples is good at their time, and no other', async () => {
    for (const { publicKey, signature, timestamp, body: text } of published) {
      const headers = { 'x-twilio-email-event-webhook-signature': signature, 'x-twilio-email-event-webhook-timestamp': timestamp };
      const webhook = { endpoint, path: '', contentType: 'application/json', headers, body: Buffer.from(text) };
      const verdictAt = (now: number) => sendgridVerifier({ publicKeys: [publicKey], now: () => new Date(now) })(webhook);
      const signedAt = Number(timestamp) * 1_000;
      for (const off of [0, 600_000, -600_000]) expect(await verdictAt(signedAt + off)).toBe('authentic');
      // It may be our clock that is wrong.
      for (const off of [600_001, -600_001]) expect(await verdictAt(signedAt + off)).toBe('unverifiable');
      const others = sendgridVerifier({ publicKeys: [key.publicKey], now: () => new Date(signedAt) });
      expect(await others(webhook)).toBe('forged');
    }
  });

  it('is good by either of two keys, whatever the other is', async () => {
    const [old, none] = [newSigningKey(), 'not a key'];
    for (const publicKeys of [
      [old.publicKey, key.publicKey],
      [key.publicKey, old.publicKey],
      [none, key.publicKey],
    ]) {
      expect(await sendgridVerifier({ publicKeys, now: () => at })(webhookOf(postOf()))).toBe('authentic');
    }
    expect(await verify(webhookOf(postOf(old)))).toBe('forged');
    expect(await sendgridVerifier({ publicKeys: [none], now: () => at })(webhookOf(postOf()))).toBe('unverifiable');
    expect(await sendgridVerifier({ publicKeys: [], now: () => at })(webhookOf(postOf()))).toBe('unverifiable');
  });

  it('of another key is no better outside of the time that is allowed', async () => {
    const old = new Date(at.getTime() - 600_001);
    expect(await verify(webhookOf(postOf(key, old)))).toBe('unverifiable');
    expect(await verify(webhookOf(postOf(newSigningKey(), old)))).toBe('forged');
  });

  it.each<readonly [string, Readonly<Record<string, string | readonly string[]>>]>([
    ['no signature', { 'x-twilio-email-event-webhook-signature': '' }],
    ['two signatures', { 'x-twilio-email-event-webhook-signature': ['a', 'b'] }],
    ['a signature that is none', { 'x-twilio-email-event-webhook-signature': 'hello' }],
    ['a signature of zeros', { 'x-twilio-email-event-webhook-signature': 'MAYCAQACAQA=' }],
    ['no time', { 'x-twilio-email-event-webhook-timestamp': '' }],
    ['a time that is none', { 'x-twilio-email-event-webhook-timestamp': `${at.getTime() / 1_000} ` }],
    ['another time', { 'x-twilio-email-event-webhook-timestamp': String(at.getTime() / 1_000 + 1) }],
  ])('is bad with %s', async (_what, headers) => {
    const posted = postOf();
    expect(await verify(webhookOf(posted, { headers: { ...posted.headers, ...headers } }))).toBe('forged');
  });

  it('is bad for every body with one byte changed', async () => {
    const posted = postOf();
    for (const index of [0, 1, Math.floor(body.byteLength / 2), body.byteLength - 1]) {
      const changed = Buffer.from(body);
      changed[index] = (changed[index] ?? 0) ^ 1;
      expect(await verify(webhookOf(posted, { body: changed }))).toBe('forged');
    }
    expect(await verify(webhookOf(posted, { body: Buffer.concat([body, Buffer.from('\n')]) }))).toBe('forged');
  });
});

describe("SendGrid's signature", () => {
  const at = new Date('2026-05-01T12:00:00.000Z');
  const key = newSigningKey();
  const verify = sendgridVerifier({ publicKeys: [key.publicKey], now: () => at });

  it('covers every byte of a mail that is no UTF-8, where its own package cannot tell bytes apart', async () => {
    const [one, other] = [0xe9, 0xe8].map((letter) => multipartBody(mailFields({ text: Buffer.from([0x63, letter]) })));
    if (one === undefined || other === undefined) throw new Error('there are two');
    const posted = sendgridPost({ endpoint: 'sendgrid_inbound', contentType: MULTIPART, body: one, key, at });
    expect(await verify(webhookOf(posted))).toBe('authentic');
    expect(await verify(webhookOf(posted, { body: other }))).toBe('forged');
    // What the package would have said of the bytes as they came.
    const official = new EventWebhook();
    const timestamp = posted.headers['x-twilio-email-event-webhook-timestamp'] ?? '';
    const signature = posted.headers['x-twilio-email-event-webhook-signature'] ?? '';
    expect(official.verifySignature(official.convertPublicKeyToECDSA(key.publicKey), one, signature, timestamp)).toBe(false);
    // Events are JSON; as text, other bytes would pass for these.
    expect(await verify(webhookOf(posted, { endpoint: 'sendgrid_events' }))).toBe('forged');
  });

  it("and Twilio's are not taken for one another", async () => {
    const both = webhookVerifier({
      twilio: { publicUrl, authTokens: [authToken] },
      sendgrid: { publicKeys: [key.publicKey], now: () => at },
    });
    const twilio = twilioStatus('01900000-0000-7000-8000-000000000001', 1, 'sent');
    const sendgrid = sendgridPost({ endpoint: 'sendgrid_events', contentType: 'application/json', body: eventsBody([]), key, at });
    expect([await both(webhookOf(twilio)), await both(webhookOf(sendgrid))]).toEqual(['authentic', 'authentic']);
    expect(await both(webhookOf(twilio, { endpoint: 'sendgrid_events' }))).toBe('forged');
    expect(await both(webhookOf(sendgrid, { endpoint: 'twilio_status' }))).toBe('forged');
  });
});
