/** SendGrid's signature, by the examples that it publishes, by keys of our own, and by its own package. */
import { EventWebhook } from '@sendgrid/eventwebhook';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Authenticity } from '../../src/domain/webhook-ports.ts';
import { sendgridVerifier } from '../../src/providers/sendgrid-webhook.ts';
import { webhookVerifier } from '../../src/providers/webhooks.ts';
import {
  authToken,
  eventsBody,
  MULTIPART,
  mailFields,
  multipartBody,
  newSigningKey,
  publicUrl,
  type SigningKey,
  sendgridPost,
  twilioStatus,
  webhookOf,
} from '../support/signed-webhooks.ts';

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

interface Signed<Body> {
  readonly publicKey: string;
  readonly signature: string;
  readonly timestamp: string;
  readonly body: Body;
}

/** The verdict of SendGrid's own package, which reads the body as text. */
function saysPackage({ publicKey, signature, timestamp, body }: Signed<Buffer>): Authenticity {
  const official = new EventWebhook();
  return official.verifySignature(official.convertPublicKeyToECDSA(publicKey), body, signature, timestamp) ? 'authentic' : 'forged';
}

/** Ours, at the time of the signature. */
function verdictOn({ publicKey, signature, timestamp, body }: Signed<string>): Promise<Authenticity> {
  const headers = { 'x-twilio-email-event-webhook-signature': signature, 'x-twilio-email-event-webhook-timestamp': timestamp };
  const webhook = { endpoint: 'sendgrid_events', path: '', contentType: 'application/json', headers, body: Buffer.from(body) } as const;
  return sendgridVerifier({ publicKeys: [publicKey], now: () => new Date(Number(timestamp) * 1_000) })(webhook);
}

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

  it.each(ENDPOINTS)('covers every byte at %s, also where its own package cannot tell bytes apart', async (endpoint) => {
    const [one, other] = [0xe9, 0xe8].map((letter) => multipartBody(mailFields({ text: Buffer.from([0x63, letter]) })));
    if (one === undefined || other === undefined) throw new Error('there are two');
    const posted = sendgridPost({ endpoint, contentType: MULTIPART, body: one, key, at });
    expect(await verify(webhookOf(posted))).toBe('authentic');
    expect(await verify(webhookOf(posted, { body: other }))).toBe('forged');
    // What the package would have said of the bytes as they came.
    const timestamp = posted.headers['x-twilio-email-event-webhook-timestamp'] ?? '';
    const signature = posted.headers['x-twilio-email-event-webhook-signature'] ?? '';
    expect(saysPackage({ publicKey: key.publicKey, signature, timestamp, body: one })).toBe('forged');
  });

  it('is judged as by its own package, over any text and whatever was changed since', async () => {
    const change = fc.constantFrom('nothing', 'the body', 'the time', 'the signature', 'the key');
    const body = fc.oneof(fc.string({ unit: fc.constantFrom(...'a\0\n ü€👋"') }), fc.json());
    const other = newSigningKey();
    await fc.assert(
      fc.asyncProperty(body, fc.integer({ min: 1, max: 4_000_000_000 }), change, async (text, seconds, changed) => {
        const timestamp = String(seconds);
        const signed = {
          publicKey: changed === 'the key' ? other.publicKey : key.publicKey,
          signature: (changed === 'the signature' ? other : key).sign(timestamp, Buffer.from(text)),
          timestamp: changed === 'the time' ? String(seconds + 1) : timestamp,
          body: changed === 'the body' ? `${text} ` : text,
        };
        const verdict = await verdictOn(signed);
        expect(verdict).toBe(changed === 'nothing' ? 'authentic' : 'forged');
        expect(saysPackage({ ...signed, body: Buffer.from(signed.body) })).toBe(verdict);
      }),
      { numRuns: 15 },
    );
    for (const example of published) {
      for (const signed of [example, { ...example, body: `${example.body} ` }, { ...example, publicKey: key.publicKey }]) {
        expect(saysPackage({ ...signed, body: Buffer.from(signed.body) })).toBe(await verdictOn(signed));
      }
    }
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
