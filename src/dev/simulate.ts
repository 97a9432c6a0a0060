/** `make simulator`: the provider simulator as a process of its own. Every option is also a variable: --webhook-url, SIMULATOR_WEBHOOK_URL. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { seededRandom } from './seeded-random.ts';
import { type Simulator, startSimulator } from './simulator.ts';

const OPTIONS = {
  host: '127.0.0.1',
  port: '4010',
  'webhook-url': '',
  seed: '',
  'account-sid': `AC${'0'.repeat(32)}`,
  'auth-token': 'simulated-auth-token',
  'api-key': 'SG.simulated.key',
  // Private, PEM; its line breaks may be written as \n. Without it a new one is made.
  'signing-key': '',
  'advanced-opt-out': 'false',
} as const;
type Option = keyof typeof OPTIONS;

const variableOf = (option: string): string => `SIMULATOR_${option.toUpperCase().replaceAll('-', '_')}`;

/** Throws for an option that there is not. */
function readOptions(): Readonly<Record<Option, string>> {
  const names = Object.keys(OPTIONS) as Option[];
  const { values } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: 'string' } as const])) });
  const entries = names.map((name) => [name, values[name] ?? process.env[variableOf(name)] ?? OPTIONS[name]] as const);
  return Object.fromEntries(entries) as Record<Option, string>;
}

/** Throws a RangeError. */
function wholeNumber(text: string, name: string, most: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > most) throw new RangeError(`--${name} must be a whole number from 0 to ${most}`);
  return value;
}

function signingKeyOf(pem: string) {
  if (pem !== '') return createPrivateKey(pem.replaceAll('\\n', '\n'));
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

function printWelcome({ url, webhookUrl }: Simulator, options: Readonly<Record<Option, string>>, seed: number, publicKey: string): void {
  console.log(`
  Twilio     ${url}, account ${options['account-sid']}, auth token ${options['auth-token']}
  SendGrid   ${url}, API key ${options['api-key']}
  webhooks   ${webhookUrl ?? `none yet: curl -X PUT -d '{"url": "http://localhost:8080"}' ${url}/simulator/webhook`}
  seed       ${seed}
  verification key for events and inbound mail: ${publicKey}

  curl ${url}/simulator                what it counts, and its faults
  curl '${url}/simulator/journal?limit=5'
  curl -X PUT -d '{"throttle": 0.2, "phoneOutcome": {"delivered": 9, "undelivered": 1}}' ${url}/simulator/faults
  curl -d '{"type": "sms", "from": "+14155552671", "to": "+14155550100", "body": "Hello"}' ${url}/simulator/receive
  curl -d '{"providerMessageId": "...", "status": "spamreport"}' ${url}/simulator/report
  curl -d '{"forMs": 5000}' ${url}/simulator/down

  Ctrl-C stops it.
`);
}

const options = readOptions();
const seed = options.seed === '' ? randomInt(2 ** 32) : wholeNumber(options.seed, 'seed', 2 ** 32 - 1);
const signingKey = signingKeyOf(options['signing-key']);
const stopping = Promise.withResolvers<void>();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopping.resolve());

await using simulator = await startSimulator({
  host: options.host,
  port: wholeNumber(options.port, 'port', 65_535),
  twilio: {
    accountSid: options['account-sid'],
    authToken: options['auth-token'],
    advancedOptOut: options['advanced-opt-out'] === 'true',
  },
  sendgrid: { apiKey: options['api-key'], signingKey },
  webhookUrl: options['webhook-url'].replace(/\/+$/, '') || undefined,
  random: seededRandom(seed),
});
const publicKey = createPublicKey(signingKey).export({ type: 'spki', format: 'der' }).toString('base64');
printWelcome(simulator, options, seed, publicKey);
await stopping.promise;
