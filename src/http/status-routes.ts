/** The status page, what it asks for, and what an operator does from it. */
import type { IncomingMessage } from 'node:http';
import { DomainError, type ErrorCode } from '../domain/errors.ts';
import type { Log } from '../telemetry/log.ts';
import { type Answer, type GetRoute, json, type PostRoute } from './http-server.ts';
import { readBody } from './read-body.ts';
import { type Access, PAGE_HEADER } from './status-access.ts';
import type { StatusPage } from './status-page.ts';
import type { Status } from './status-snapshot.ts';

export interface StatusActions {
  /** To status PENDING. Throws as RetryMessage does. */
  retryMessage(id: string, force: boolean): Promise<void>;
  /** Returns the state afterwards. Throws as ReplayWebhookRequest does. */
  replayWebhook(id: string): Promise<string>;
}

export interface StatusRoutesOptions {
  readonly access: Access;
  readonly page: StatusPage;
  readonly status: Status;
  readonly actions: StatusActions;
  readonly log: Log;
}

export interface StatusRoutes {
  readonly gets: ReadonlyMap<string, GetRoute>;
  readonly posts: ReadonlyMap<string, PostRoute>;
}

const BODY_LIMITS = { maxBytes: 1_024, timeoutMs: 5_000, take: () => true };
const CLOSE = { connection: 'close' };
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const HTTP_STATUS: Partial<Record<ErrorCode, number>> = {
  message_not_found: 404,
  webhook_request_not_found: 404,
  status_forbids: 409,
  not_retryable: 409,
  storage_unavailable: 503,
};

interface Command {
  readonly id: string;
  readonly force: boolean;
}

function commandOf(bytes: Buffer): Command | undefined {
  try {
    const { id, force = false } = JSON.parse(bytes.toString('utf8')) as Readonly<Record<string, unknown>>;
    return typeof id === 'string' && UUID.test(id) && typeof force === 'boolean' ? { id, force } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Only our own page can send both: a page of another origin would have to ask first, by a preflight that nobody here allows. What browsers
 * tell about the origin must agree.
 */
function isFromPage({ headers }: IncomingMessage): boolean {
  const isJson = headers['content-type']?.split(';')[0]?.trim() === 'application/json';
  const site = headers['sec-fetch-site'];
  return isJson && headers[PAGE_HEADER] !== undefined && (site === undefined || site === 'same-origin');
}

export function statusRoutes({ access, page, status, actions, log }: StatusRoutesOptions): StatusRoutes {
  /** `act` returns what to tell the operator. */
  const action = (name: string, act: (command: Command) => Promise<object>): PostRoute => {
    const done = async (command: Command): Promise<Answer> => {
      const fields = { action: name, id: command.id, force: command.force };
      try {
        const told = await act(command);
        log.info({ ...fields, ...told, outcome: 'done' }, 'operator acted on the status page');
        return json(200, told);
      } catch (error) {
        const code = error instanceof DomainError ? error.code : 'internal';
        log.warn({ ...fields, outcome: code, err: error }, 'operator acted on the status page');
        const message = error instanceof DomainError ? error.message : 'The service has a defect; see its log.';
        return json((error instanceof DomainError && HTTP_STATUS[error.code]) || 500, { error: code, message });
      } finally {
        status.changed();
      }
    };
    return async (request) => {
      const refusal = access(request);
      if (refusal !== undefined) return { ...refusal, headers: { ...refusal.headers, ...CLOSE } };
      if (!isFromPage(request)) return json(403, { error: 'forbidden', message: 'Only the status page may ask for this.' }, CLOSE);
      const body = await readBody(request, BODY_LIMITS);
      if (body.kind === 'gone') return undefined;
      const command = body.kind === 'whole' ? commandOf(body.bytes) : undefined;
      if (command === undefined) return json(400, { error: 'malformed', message: 'The request makes no sense.' }, CLOSE);
      return await done(command);
    };
  };
  return {
    gets: new Map<string, GetRoute>([
      ['/status', async (request) => access(request) ?? page],
      ['/status.json', async (request) => access(request) ?? json(200, await status.read())],
    ]),
    posts: new Map([
      [
        '/status/retry-message',
        action('retry_message', async ({ id, force }) => {
          await actions.retryMessage(id, force);
          return { status: 'pending' };
        }),
      ],
      ['/status/replay-webhook', action('replay_webhook', async ({ id }) => ({ state: await actions.replayWebhook(id) }))],
    ]),
  };
}
