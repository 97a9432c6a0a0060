/** The providers there are credentials for. Nothing is loaded for the others, and the SDKs only when a message is about to be sent. */
import type { Provider } from '../domain/message.ts';
import type { ProviderClient } from '../domain/provider-client.ts';
import type { Instruments } from './guarded-client.ts';
import type { SendgridOptions } from './sendgrid.ts';
import type { TwilioOptions } from './twilio.ts';

export interface ProvidersOptions {
  /** undefined: no credentials. */
  readonly twilio: TwilioOptions | undefined;
  readonly sendgrid: SendgridOptions | undefined;
}

export interface ProvidersSettings {
  /** PEM certificates to trust in place of the usual ones. */
  readonly ca?: string;
  readonly breaker?: Partial<typeof BREAKER>;
  /** Addresses that attachments may come from although they are not public. */
  readonly attachmentAddresses?: readonly string[];
}

/** Disposing closes connections; a request that is under way then has an unknown outcome. */
export interface Providers extends Disposable {
  readonly clients: ReadonlyMap<Provider, ProviderClient>;
}

const BREAKER = { failuresToOpen: 5, firstPauseMs: 5_000, maxPauseMs: 60_000, credentialsPauseMs: 60_000 };

export async function openProviders(
  { twilio, sendgrid }: ProvidersOptions,
  { log, metrics }: Instruments,
  { ca, breaker, attachmentAddresses = [] }: ProvidersSettings = {},
): Promise<Providers> {
  using opened = new DisposableStack();
  const clients = new Map<Provider, ProviderClient>();
  const shared = { log, metrics, breaker: { ...BREAKER, ...breaker }, nowMs: () => performance.now(), unixNowMs: Date.now };
  if (twilio !== undefined || sendgrid !== undefined) {
    const [{ openTransport }, { guardedClient }] = await Promise.all([import('./exchange.ts'), import('./guarded-client.ts')]);
    if (twilio !== undefined) {
      const { twilioApi } = await import('./twilio.ts');
      const transport = opened.use(openTransport(twilio.limits.maxConcurrent, ca));
      clients.set('twilio', opened.use(guardedClient(twilioApi(twilio, transport), { ...shared, limits: twilio.limits })));
    }
    if (sendgrid !== undefined) {
      const modules = [import('./sendgrid.ts'), import('./fetch-attachments.ts'), import('request-filtering-agent')] as const;
      const [{ sendgridApi }, { attachmentFetcher, attachmentFilter }, { RequestFilteringHttpsAgent }] = await Promise.all(modules);
      const transport = opened.use(openTransport(sendgrid.limits.maxConcurrent, ca));
      const filter = attachmentFilter(attachmentAddresses);
      const fetcher = opened.use(attachmentFetcher(new RequestFilteringHttpsAgent(ca === undefined ? filter : { ...filter, ca })));
      const api = sendgridApi(sendgrid, transport, fetcher);
      clients.set('sendgrid', opened.use(guardedClient(api, { ...shared, limits: sendgrid.limits })));
    }
  }
  const closing = opened.move();
  return { clients, [Symbol.dispose]: () => closing.dispose() };
}
