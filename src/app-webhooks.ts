/** The part of the composition root that takes webhooks. */
import type { Config } from './config.ts';
import { webhookRoutes } from './http/webhooks.ts';
import { parseWebhook, webhookVerifier } from './providers/webhooks.ts';
import type { WebhookObserver, WebhookParts } from './services/apply-webhook.ts';
import { createIngestWebhook } from './services/ingest-webhook.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';
import { continueTrace, type SpanHandle, traceParent, withSpan } from './telemetry/trace.ts';

interface Instruments {
  readonly log: Log;
  readonly metrics: Metrics;
}

/** An event belongs to the trace of the attempt that it is about; the request that brought it is linked. */
const inTrace: WebhookParts['inTrace'] = (parent, work) => {
  const name = 'webhook event';
  const told = async (span: SpanHandle) => {
    const outcome = await work();
    span.set('webhook.event.result', outcome.kind);
    return outcome;
  };
  if (parent === '') return withSpan(name, {}, told);
  return continueTrace({ name, kind: 'consumer', attributes: {}, parent, links: [traceParent()] }, told);
};

function observerOf({ log, metrics }: Instruments): WebhookObserver {
  return {
    event: metrics.webhookEvent,
    quarantined(webhookRequestId, reason, error) {
      const fields = { webhook_request_id: webhookRequestId, reason, ...(error === undefined ? {} : { err: error }) };
      log.warn(fields, 'webhook event quarantined');
    },
  };
}

/** What processing a stored request takes, whoever asks for it. */
export function webhookParts(
  parts: Pick<WebhookParts, 'store' | 'clock' | 'newId' | 'onDelivered'>,
  instruments: Instruments,
): WebhookParts {
  return { ...parts, parse: parseWebhook, inTrace, observer: observerOf(instruments) };
}

/** The endpoints that providers post to. */
export function webhookPosts({ webhooks }: Pick<Config, 'webhooks'>, parts: WebhookParts, { log, metrics }: Instruments) {
  const { publicUrl, maxBytes, twilioAuthTokens, sendgridPublicKeys } = webhooks;
  const verify = webhookVerifier({
    twilio: { publicUrl, authTokens: twilioAuthTokens },
    sendgrid: { publicKeys: sendgridPublicKeys, now: parts.clock.now },
  });
  return webhookRoutes({ maxBytes, verify, ingest: createIngestWebhook(parts), log, metrics });
}
