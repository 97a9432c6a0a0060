/**
 * The HTTP requests of an SDK, watched at their sockets. What an SDK says of a failure does not tell whether the request had left, and that
 * decides whether it may be repeated.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';

/** An idle connection is closed after this: before servers do (Node after 5 s, others later), for a reset in mid-request is ambiguous. */
const IDLE_MS = 3_000;
/** An answer that is longer, after decompression, ends the request. */
const MAX_ANSWER_BYTES = 4_194_304;

/** Facts about the requests that are made for one purpose; the later one counts. */
export interface Exchange {
  readonly connectTimeoutMs: number;
  /** A request was begun. */
  begun: boolean;
  /** There was a connection to write to, with TLS done where there is TLS: some of the request may have left. */
  sent: boolean;
  /** Status and headers, as soon as they are there. */
  answer: { readonly status: number; readonly headers: IncomingHttpHeaders } | undefined;
}

export function newExchange(connectTimeoutMs: number): Exchange {
  return { connectTimeoutMs, begun: false, sent: false, answer: undefined };
}

const exchanges = new AsyncLocalStorage<{ readonly exchange: Exchange; readonly signal: AbortSignal }>();

/** What SDKs request during `work`, through the transport of openTransport, is told to `exchange` and ends with `signal`. */
export function during<T>(exchange: Exchange, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  return exchanges.run({ exchange, signal }, work);
}

/** Its code is told as what ended the request. */
class RequestEnded extends Error {
  override readonly name = 'RequestEnded';
  readonly code: string;

  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

function watch(request: ClientRequest, exchange: Exchange, signal: AbortSignal): void {
  const abort = (): void => void request.destroy(new RequestEnded('TIMEOUT'));
  const tooSlow = setTimeout(() => {
    if (!exchange.sent) request.destroy(new RequestEnded('CONNECT_TIMEOUT'));
  }, exchange.connectTimeoutMs);
  exchange.begun = true;
  signal.addEventListener('abort', abort, { once: true });
  request.once('close', () => {
    clearTimeout(tooSlow);
    signal.removeEventListener('abort', abort);
  });
  request.once('socket', (socket) => {
    const secure = 'encrypted' in socket;
    const connecting = socket.connecting || ('secureConnecting' in socket && socket.secureConnecting === true);
    if (request.reusedSocket || !connecting) {
      exchange.sent = true;
      return;
    }
    // The agent sets it for idle connections; a slow one that is being made has a time-out of its own.
    socket.setTimeout(0);
    socket.once(secure ? 'secureConnect' : 'connect', () => {
      exchange.sent = true;
    });
  });
  request.once('response', ({ statusCode = 0, headers }) => {
    exchange.answer = { status: statusCode, headers };
  });
  if (signal.aborted) abort();
}

function startRequest(options: RequestOptions, onResponse: (response: IncomingMessage) => void): ClientRequest {
  const request = options.protocol === 'https:' ? httpsRequest(options, onResponse) : httpRequest(options, onResponse);
  const current = exchanges.getStore();
  if (current !== undefined) watch(request, current.exchange, current.signal);
  return request;
}

/** Settings of axios, which both SDKs use, that make it request here, directly and without following redirects. */
export interface Transport extends Disposable {
  readonly settings: {
    readonly httpAgent: HttpAgent;
    readonly httpsAgent: HttpsAgent;
    readonly transport: { readonly request: typeof startRequest };
    readonly maxRedirects: 0;
    readonly proxy: false;
    readonly maxContentLength: number;
  };
}

/** `ca`: PEM certificates to trust in place of the usual ones. Disposing closes its connections, busy ones too. */
export function openTransport(maxIdle: number, ca: string | undefined): Transport {
  const agentOptions = { keepAlive: true, timeout: IDLE_MS, maxFreeSockets: maxIdle };
  const httpAgent = new HttpAgent(agentOptions);
  const httpsAgent = new HttpsAgent(ca === undefined ? agentOptions : { ...agentOptions, ca });
  return {
    settings: {
      httpAgent,
      httpsAgent,
      transport: { request: startRequest },
      maxRedirects: 0,
      proxy: false,
      maxContentLength: MAX_ANSWER_BYTES,
    },
    [Symbol.dispose]() {
      httpAgent.destroy();
      httpsAgent.destroy();
    },
  };
}
