/** Twilio's signature, by the example that it publishes and by a token of our own. */
import { createHmac } from 'node:crypto';
import { getExpectedTwilioSignature } from 'twilio/lib/webhooks/webhooks.js';
import { describe, expect, it } from 'vitest';
import type { SignedWebhook } from '../../src/domain/webhook-ports.ts';
import { twilioVerifier } from '../../src/providers/twilio-webhook.ts';
import { authToken, publicUrl, twilioPost, webhookOf } from '../support/signed-webhooks.ts';

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
      const names = Array.from({ length: 260_000 }, (_, index) => index.toString(36).padStart(4, '0')).sort();
      const path = '/webhooks/twilio/inbound';
      // As Twilio would compute it; the values are empty.
      const signature = createHmac('sha1', authToken)
        .update(`${publicUrl}${path}${names.join('')}`)
        .digest('base64');
      const body = Buffer.from(names.join('=&'));
      expect(await ours({ ...example, path, body, headers: { 'x-twilio-signature': signature } })).toBe('forged');
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
