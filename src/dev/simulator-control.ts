/** The simulator's controls for other processes and for people with curl: JSON below /simulator. */

import type { Simulator } from './simulator.ts';
import { faultsOf } from './simulator-faults.ts';
import type { InboundAttachment, InboundMessage } from './simulator-inbound.ts';
import { asFields, asList, asText, type Fields, parseJson } from './simulator-json.ts';
import type { WebhookPoster } from './simulator-poster.ts';
import { type ApiAnswer, type ApiRequest, json } from './simulator-provider.ts';

const DEFAULT_JOURNAL_LIMIT = 20;
const MAX_JOURNAL_LIMIT = 10_000;
const MAX_DOWN_MS = 600_000;
const MAX_PARTS = 20;

type Handler = (fields: Fields, query: URLSearchParams) => unknown;

/** Throws a RangeError. */
function text(fields: Fields, name: string): string {
  const value = asText(fields[name]);
  if (value === undefined) throw new RangeError(`${name} must be a string`);
  return value;
}

function optionalText<Name extends string>(fields: Fields, ...names: readonly Name[]): { [Key in Name]?: string } {
  const given = names.filter((name) => fields[name] !== undefined);
  return Object.fromEntries(given.map((name) => [name, text(fields, name)])) as { [Key in Name]?: string };
}

function objects(fields: Fields, name: string): readonly Fields[] {
  const list = asList(fields[name] ?? []);
  const items = list?.map(asFields).filter((item) => item !== undefined);
  if (list === undefined || items?.length !== list.length || list.length > MAX_PARTS) {
    throw new RangeError(`${name} must be a list of at most ${MAX_PARTS} objects`);
  }
  return items;
}

function wholeNumber(value: unknown, name: string, most: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1 || value > most) {
    throw new RangeError(`${name} must be a whole number from 1 to ${most}`);
  }
  return value;
}

const attachmentOf = (fields: Fields): InboundAttachment => ({
  filename: text(fields, 'filename'),
  contentType: text(fields, 'contentType'),
  content: text(fields, 'content'),
  ...optionalText(fields, 'contentId'),
});

function mailHeaders(value: unknown): Readonly<Record<string, string>> {
  const headers = asFields(value ?? {});
  const valid = Object.entries(headers ?? {}).every(([name, header]) => /^[A-Za-z0-9-]+$/.test(name) && typeof header === 'string');
  if (headers === undefined || !valid) throw new RangeError('headers must be an object of strings');
  return headers as Readonly<Record<string, string>>;
}

/** Throws a RangeError that names the field. */
function inboundOf(fields: Fields): InboundMessage {
  const type = text(fields, 'type');
  const addresses = { from: text(fields, 'from'), to: text(fields, 'to'), ...optionalText(fields, 'body', 'providerMessageId') };
  if (type === 'sms' || type === 'mms') {
    const media = objects(fields, 'media').map((item) => ({ url: text(item, 'url'), contentType: text(item, 'contentType') }));
    return { type, ...addresses, media };
  }
  if (type !== 'email') throw new RangeError('type must be sms, mms or email');
  return {
    type,
    ...addresses,
    ...optionalText(fields, 'cc', 'subject', 'html'),
    headers: mailHeaders(fields['headers']),
    attachments: objects(fields, 'attachments').map(attachmentOf),
  };
}

function stateOf(simulator: Simulator): unknown {
  const { url, webhookUrl, faults, pending, journal } = simulator;
  return { url, webhookUrl: webhookUrl ?? null, pending, counts: journal.counts, faults };
}

function routesOf(simulator: Simulator, poster: WebhookPoster): ReadonlyMap<string, Handler> {
  const journal: Handler = (_, query) => {
    const limit = Number(query.get('limit') ?? DEFAULT_JOURNAL_LIMIT);
    const messageId = query.get('messageId');
    const messages = messageId === null ? simulator.journal.messages() : simulator.journal.ofMessage(messageId);
    return { counts: simulator.journal.counts, messages: messages.slice(0, wholeNumber(limit, 'limit', MAX_JOURNAL_LIMIT)) };
  };
  const setFaults: Handler = (fields) => {
    simulator.setFaults(faultsOf(fields));
    return stateOf(simulator);
  };
  const setWebhookUrl: Handler = (fields) => {
    const url = text(fields, 'url');
    if (URL.parse(url)?.protocol !== 'http:') throw new RangeError('url must begin with http://');
    simulator.setWebhookUrl(url.replace(/\/+$/, ''));
    return stateOf(simulator);
  };
  const down: Handler = (fields) => {
    const forMs = wholeNumber(fields['forMs'], 'forMs', MAX_DOWN_MS);
    const leave = async () => {
      // The answer goes out before its connection is cut.
      if (!(await poster.wait(1))) return;
      await simulator.down();
      if (await poster.wait(forMs)) await simulator.up();
    };
    leave().catch((error: unknown) => console.error('The simulator could not come up again:', error));
    return { downForMs: forMs };
  };
  const report: Handler = async (fields) => {
    const { code } = fields;
    return await simulator.report({
      providerMessageId: text(fields, 'providerMessageId'),
      status: text(fields, 'status'),
      ...(code === undefined ? {} : { code: wholeNumber(code, 'code', 99_999) }),
    });
  };
  return new Map<string, Handler>([
    ['GET /simulator', () => stateOf(simulator)],
    ['GET /simulator/journal', journal],
    ['PUT /simulator/faults', setFaults],
    ['PUT /simulator/webhook', setWebhookUrl],
    ['POST /simulator/receive', async (fields) => await simulator.receive(inboundOf(fields))],
    ['POST /simulator/report', report],
    ['POST /simulator/down', down],
  ]);
}

/** What is wrong with a request is answered with 400 and said. */
export function createControl(simulator: Simulator, poster: WebhookPoster): (request: ApiRequest) => Promise<ApiAnswer> {
  const routes = routesOf(simulator, poster);
  return async ({ method, path, query, body }) => {
    const handler = routes.get(`${method} ${path.replace(/\/$/, '')}`);
    if (handler === undefined) return json(404, { error: 'not found', routes: [...routes.keys()] });
    const fields = asFields(body.byteLength === 0 ? {} : parseJson(body));
    if (fields === undefined) return json(400, { error: 'the body must be a JSON object' });
    try {
      return json(200, await handler(fields, query));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      return json(400, { error: error.message });
    }
  };
}
