/**
 * Twilio and SendGrid for development and tests: their wire protocols, a journal of what was accepted, signed callbacks and inbound
 * messages, and misbehaviour on demand. The same seed, requests and faults in the same order give the same ids, answers and fates.
 */
import type { KeyObject } from 'node:crypto';
import type { Random } from './seeded-random.ts';
import { Callbacks } from './simulator-callbacks.ts';
import { createControl } from './simulator-control.ts';
import { type Faults, faultsOf } from './simulator-faults.ts';
import { type InboundMessage, type Received, receive } from './simulator-inbound.ts';
import { type AcceptedMessage, Journal, type JournalView } from './simulator-journal.ts';
import { OptOuts } from './simulator-opt-outs.ts';
import { WebhookPoster } from './simulator-poster.ts';
import type { PostOutcome } from './simulator-retries.ts';
import { SendGridApi } from './simulator-sendgrid.ts';
import { EMAIL_EVENTS, SendGridEvents } from './simulator-sendgrid-events.ts';
import { startSimulatorServer } from './simulator-server.ts';
import { TwilioApi } from './simulator-twilio.ts';
import { type TwilioAccount, TwilioPosts } from './simulator-twilio-callbacks.ts';

export interface SimulatorOptions {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  readonly twilio: TwilioAccount;
  readonly sendgrid: {
    readonly apiKey: string;
    /** ECDSA P-256, private: signs events and inbound mail. */
    readonly signingKey: KeyObject;
  };
  /**
   * Where SendGrid's events and all inbound messages go: `${webhookUrl}/webhooks/twilio/inbound`, `/webhooks/sendgrid/events`,
   * `/webhooks/sendgrid/inbound`. Twilio's status callbacks go to the StatusCallback of each message. May be set later.
   */
  readonly webhookUrl: string | undefined;
  readonly random: Random;
  readonly faults?: Partial<Faults>;
  /** Milliseconds since 1970. Default: the clock. */
  readonly now?: () => number;
  /** Posts to webhooks at once. Default 32. */
  readonly maxCallbacksInFlight?: number;
  /** Messages the journal remembers. Default 100,000. */
  readonly maxMessages?: number;
  /** How long a post of SendGrid's events waits for more of them. Default 10. */
  readonly eventBatchMs?: number;
  /** Before the first retry of a callback; doubles from one to the next, up to 5 s. Default 250. */
  readonly callbackRetryMs?: number;
}

/** Something that happens to an accepted message later on: `read`, `open`, `spamreport`, a bounce after delivery. */
export interface Report {
  /** SID, X-Message-Id or sg_message_id. */
  readonly providerMessageId: string;
  /** Twilio's status, or SendGrid's event; `blocked` is its bounce of that type. */
  readonly status: string;
  /** Twilio's error code. */
  readonly code?: number;
}

/** Disposing stops the server and cancels every callback. */
export interface Simulator extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly journal: JournalView;
  readonly faults: Faults;
  readonly webhookUrl: string | undefined;
  /** Pieces of work for callbacks that have not ended. */
  readonly pending: number;
  /** From now on; those that are not named are off. Throws a RangeError. */
  setFaults(faults: Partial<Faults>): void;
  setWebhookUrl(webhookUrl: string | undefined): void;
  /** Refuses connections, also to /simulator; callbacks go on. */
  down(): Promise<void>;
  /** Listens again, on the same port. Rejects when someone else took it. */
  up(): Promise<void>;
  /** Brings a message to our webhook. Resolves with the last answer. */
  receive(message: InboundMessage): Promise<Received>;
  /** Rejects with a RangeError for an unknown message or event, and after 100 for one message. */
  report(report: Report): Promise<PostOutcome>;
  /** Resolves once every callback was accepted or given up. */
  idle(): Promise<void>;
}

const MAX_STEPS = 100;
const TWILIO_STATUSES = ['queued', 'sending', 'sent', 'delivered', 'undelivered', 'failed', 'read', 'canceled'];

function checkReport({ providerMessageId, status }: Report, journal: Journal): AcceptedMessage {
  const message = journal.find(providerMessageId);
  if (message === undefined) throw new RangeError('there is no such message');
  const known = message.provider === 'twilio' ? TWILIO_STATUSES : EMAIL_EVENTS;
  if (!known.includes(status)) throw new RangeError(`status must be one of ${known.join(', ')}`);
  if (message.steps.length >= MAX_STEPS) throw new RangeError('that is enough for one message');
  return message;
}

/** Rejects when the port cannot be bound, or a fault is not valid. */
export async function startSimulator(options: SimulatorOptions): Promise<Simulator> {
  const { twilio: account, sendgrid, random, now = Date.now, callbackRetryMs: firstPauseMs = 250 } = options;
  const { signingKey } = sendgrid;
  let currentFaults = faultsOf(options.faults ?? {});
  let currentWebhookUrl = options.webhookUrl;
  const faults = () => currentFaults;
  const webhookUrl = () => currentWebhookUrl;

  const journal = new Journal(options.maxMessages ?? 100_000);
  const poster = new WebhookPoster(options.maxCallbacksInFlight ?? 32);
  const optOuts = new OptOuts();
  const twilioPosts = new TwilioPosts({ account, poster, journal, firstPauseMs });
  const batchMs = options.eventBatchMs ?? 10;
  const events = new SendGridEvents({ signingKey, poster, journal, now, firstPauseMs, batchMs, webhookUrl });
  const callbacks = new Callbacks({
    poster,
    journal,
    now,
    tell: (message, step) => (message.provider === 'twilio' ? twilioPosts.tell(message, step) : events.tell(message, step)),
  });
  const launch = callbacks.launch.bind(callbacks);
  const providers = [
    new TwilioApi({ account, journal, optOuts, random, now, faults, launch }),
    new SendGridApi({ apiKey: sendgrid.apiKey, journal, random, now, faults, launch }),
  ];
  const inbound = { account, signingKey, optOuts, twilioPosts, poster, journal, random, now, firstPauseMs, webhookUrl };

  const server = await startSimulatorServer({
    host: options.host,
    port: options.port,
    providers,
    journal,
    poster,
    random,
    faults,
    control: (request) => control(request),
  });
  const simulator: Simulator = {
    url: `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${server.port}`,
    port: server.port,
    journal,
    get faults() {
      return currentFaults;
    },
    get webhookUrl() {
      return currentWebhookUrl;
    },
    get pending() {
      return poster.pending;
    },
    setFaults(named) {
      currentFaults = faultsOf(named);
    },
    setWebhookUrl(url) {
      currentWebhookUrl = url;
    },
    down: server.down,
    up: server.up,
    receive: (message) => receive(inbound, message),
    report: async (report) => await callbacks.report(checkReport(report, journal), { status: report.status, code: report.code }),
    idle: () => poster.idle(),
    async [Symbol.asyncDispose]() {
      poster[Symbol.dispose]();
      await server.down();
    },
  };
  const control = createControl(simulator, poster);
  return simulator;
}
