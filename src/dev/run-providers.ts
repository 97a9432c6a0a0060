/** The providers of `make run`: the simulator stands in for those that the environment has no credentials for. */
import { generateKeyPairSync, randomBytes, randomInt } from 'node:crypto';
import { seededRandom } from './seeded-random.ts';
import { type Simulator, startSimulator } from './simulator.ts';

/** People want to see what happens, not to wait for it. */
const CALLBACK_DELAY_MS = [50, 400] as const;
const MAX_SEED = 1_000_000;

/**
 * Starts the simulator when it is needed, and enters what the service must know of it into `env`. `webhookUrl`: where the service serves
 * HTTP. undefined: the environment has credentials for both providers.
 */
export async function startProviders(env: NodeJS.ProcessEnv, webhookUrl: string): Promise<Simulator | undefined> {
  const needsTwilio = !env['TWILIO_ACCOUNT_SID'];
  const needsSendGrid = !env['SENDGRID_API_KEY'];
  if (!needsTwilio && !needsSendGrid) return undefined;
  const { privateKey: signingKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const twilio = { accountSid: `AC${randomBytes(16).toString('hex')}`, authToken: randomBytes(16).toString('hex') };
  const apiKey = `SG.${randomBytes(16).toString('hex')}`;
  const simulator = await startSimulator({
    host: '127.0.0.1',
    port: 0,
    twilio,
    sendgrid: { apiKey, signingKey },
    webhookUrl,
    random: seededRandom(randomInt(MAX_SEED)),
    faults: { callbackDelayMs: CALLBACK_DELAY_MS },
  });
  if (needsTwilio) {
    Object.assign(env, { TWILIO_ACCOUNT_SID: twilio.accountSid, TWILIO_AUTH_TOKEN: twilio.authToken, TWILIO_API_URL: simulator.url });
    env['PUBLIC_URL'] ||= webhookUrl;
  }
  if (needsSendGrid) {
    const key = publicKey.export({ type: 'spki', format: 'der' }).toString('base64');
    Object.assign(env, { SENDGRID_API_KEY: apiKey, SENDGRID_WEBHOOK_KEYS: key, SENDGRID_API_URL: simulator.url });
  }
  return simulator;
}
