/** A simulator with a receiver for its webhooks, and the vendors' own clients to speak to it. */
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import sharedClient from '@sendgrid/client';
import { EventWebhook } from '@sendgrid/eventwebhook';
import sharedMailService from '@sendgrid/mail';
import twilio from 'twilio';
import { onTestFinished } from 'vitest';
import { seededRandom } from '../../src/dev/seeded-random.ts';
import { type SimulatorOptions, startSimulator } from '../../src/dev/simulator.ts';
import { type RecordedRequest, startWebhookRecorder } from './webhook-recorder.ts';

export const ACCOUNT_SID = `AC${'a'.repeat(32)}`;
export const AUTH_TOKEN = 'the auth token of the tests';
export const API_KEY = 'SG.the.key.of.the.tests';
export const SIGNING_KEY = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
export const TEXT = { from: '+14155550100', to: '+14155552671', body: 'Your table is ready.' };
export const MAIL = { from: 'desk@example.com', to: 'guest@example.org', subject: 'Your table', text: 'It is ready.' };

// The packages export one instance for all; their types do not let their classes be named.
const SendGridClient = sharedClient.constructor as new () => typeof sharedClient;
const MailService = sharedMailService.constructor as new () => typeof sharedMailService;

const PUBLIC_KEY = createPublicKey(SIGNING_KEY).export({ type: 'spki', format: 'pem' }).toString();

/** Answers of any status resolve; only a broken connection rejects. */
export function twilioClient(url: string, authToken = AUTH_TOKEN) {
  const client = twilio(ACCOUNT_SID, authToken, { keepAlive: false, timeout: 5_000 });
  client.api.baseUrl = url;
  return client;
}

export function sendGridClient(url: string, apiKey = API_KEY): typeof sharedClient {
  const client = new SendGridClient();
  client.setApiKey(apiKey);
  client.setDefaultRequest('baseUrl', url);
  return client;
}

export function mailService(url: string): typeof sharedMailService {
  const service = new MailService();
  service.setClient(sendGridClient(url));
  return service;
}

/** Stopped when the test has finished. */
export async function simulated(options: Partial<SimulatorOptions> & { readonly seed?: number } = {}) {
  const webhooks = await startWebhookRecorder();
  onTestFinished(async () => await webhooks[Symbol.asyncDispose]());
  const { seed = 1, ...given } = options;
  const simulator = await startSimulator({
    host: '127.0.0.1',
    port: 0,
    twilio: { accountSid: ACCOUNT_SID, authToken: AUTH_TOKEN },
    sendgrid: { apiKey: API_KEY, signingKey: SIGNING_KEY },
    webhookUrl: webhooks.url,
    random: seededRandom(seed),
    callbackRetryMs: 1,
    ...given,
  });
  onTestFinished(async () => await simulator[Symbol.asyncDispose]());
  const texts = twilioClient(simulator.url).messages;
  return { simulator, webhooks, texts, mails: mailService(simulator.url), activity: sendGridClient(simulator.url) };
}

export function formOf({ body }: RecordedRequest): Readonly<Record<string, string>> {
  return Object.fromEntries(new URLSearchParams(body.toString()));
}

export function eventsOf({ body }: RecordedRequest): readonly Readonly<Record<string, unknown>>[] {
  return JSON.parse(body.toString());
}

/** By Twilio's own validator, over the URL that it was posted to. */
export function hasTwilioSignature(request: RecordedRequest, base: string): boolean {
  return twilio.validateRequest(AUTH_TOKEN, String(request.headers['x-twilio-signature']), `${base}${request.path}`, formOf(request));
}

/** By SendGrid's own validator. It reads the body as text, so this is for bodies that are. */
export function hasSendGridSignature({ headers, body }: RecordedRequest): boolean {
  const webhook = new EventWebhook();
  const [signature, timestamp] = ['signature', 'timestamp'].map((name) => String(headers[`x-twilio-email-event-webhook-${name}`]));
  return webhook.verifySignature(webhook.convertPublicKeyToECDSA(PUBLIC_KEY), body, signature ?? '', timestamp ?? '');
}
