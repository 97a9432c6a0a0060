/** Providers with short limits, what they log and measure, and messages for them. */
import type { Provider } from '../../src/domain/message.ts';
import type { LostSubmission, ProviderClient, Submission } from '../../src/domain/provider-client.ts';
import { openProviders, type ProvidersSettings } from '../../src/providers/open-providers.ts';
import { createLog } from '../../src/telemetry/log.ts';
import type { LogLine } from './apps.ts';

export const ACCOUNT_SID = `AC${'0'.repeat(32)}`;
export const AUTH_TOKEN = 'canary-auth-token';
export const API_KEY = 'canary-api-key';

export interface ProviderWorld extends Disposable {
  readonly client: ProviderClient;
  readonly logText: () => string;
  readonly logLines: () => readonly LogLine[];
  /** In the order in which they came. */
  readonly measured: readonly string[];
}

export interface WorldOptions extends ProvidersSettings {
  readonly maxConcurrent?: number;
  readonly maxPerSecond?: number;
  readonly timeoutMs?: number;
  readonly publicUrl?: string;
}

export async function providerWorld(provider: Provider, apiUrl: string, options: WorldOptions = {}): Promise<ProviderWorld> {
  const { maxConcurrent = 10, maxPerSecond = 1_000, timeoutMs = 5_000, publicUrl = 'https://messages.example.com' } = options;
  const limits = { maxConcurrent, maxPerSecond, timeoutMs };
  const lines: string[] = [];
  const measured: string[] = [];
  const opened = await openProviders(
    {
      twilio: provider === 'twilio' ? { accountSid: ACCOUNT_SID, authToken: AUTH_TOKEN, apiUrl, publicUrl, limits } : undefined,
      sendgrid: provider === 'sendgrid' ? { apiKey: API_KEY, apiUrl, limits } : undefined,
    },
    {
      log: createLog({ level: 'debug', destination: { write: (line: string) => lines.push(line) } }),
      metrics: {
        providerAnswered: (name, operation) => measured.push(`${name} ${operation}`),
        providerBreaker: (name, open) => measured.push(`${name} ${open ? 'open' : 'closed'}`),
      },
    },
    options,
  );
  const client = opened.clients.get(provider);
  if (client === undefined) throw new Error(`${provider} was not opened`);
  return {
    client,
    measured,
    logText: () => lines.join(''),
    logLines: () => lines.map((line): LogLine => JSON.parse(line)),
    [Symbol.dispose]: () => opened[Symbol.dispose](),
  };
}

/** To be submitted, or to be looked for. */
type AnySubmission = Submission & LostSubmission;

export function sms(changes: Partial<AnySubmission> = {}): AnySubmission {
  return {
    messageId: '0199c3a0-0000-7000-8000-000000000001',
    attempt: 1,
    messageType: 'sms',
    fromAddress: '+14155552671',
    toAddress: '+14155552672',
    body: 'canary-body',
    attachments: [],
    email: null,
    validityMs: 3_600_000,
    startedAt: new Date('2026-11-28T10:00:00Z'),
    ...changes,
  };
}

export function email(changes: Partial<AnySubmission> = {}): AnySubmission {
  return sms({
    messageType: 'email',
    fromAddress: 'shop@example.com',
    toAddress: 'ada@example.org',
    email: { subject: 'canary-subject', htmlBody: '<p>canary-html</p>', replyTo: 'help@example.com', internetMessageId: '' },
    ...changes,
  });
}

/** As the dispatcher does it. */
export async function deliver({ client }: ProviderWorld, submission: Submission) {
  await client.admit();
  return await client.submit(submission);
}
