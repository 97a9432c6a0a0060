/** The simulator's HTTP server: reads requests within a limit, lets troubles happen, and can go away and come back on the same port. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Random } from './seeded-random.ts';
import { type Faults, troubleOf } from './simulator-faults.ts';
import type { Journal } from './simulator-journal.ts';
import type { WebhookPoster } from './simulator-poster.ts';
import { type ApiAnswer, type ApiRequest, json, type ProviderApi } from './simulator-provider.ts';

/** Drop: the connection is cut. Stall: no answer, until the client gives up. */
type Outcome = ApiAnswer | 'drop' | 'stall';

export interface SimulatorServerOptions {
  readonly host: string;
  readonly port: number;
  readonly providers: readonly ProviderApi[];
  readonly journal: Journal;
  readonly poster: WebhookPoster;
  readonly random: Random;
  faults(): Faults;
  /** Answers below /simulator. */
  control(request: ApiRequest): Promise<ApiAnswer>;
}

export interface SimulatorServer {
  readonly port: number;
  /** Refuses connections and cuts those there are. */
  down(): Promise<void>;
  /** Rejects when the port was taken meanwhile. */
  up(): Promise<void>;
}

const CONTROL_PATH = /^\/simulator(\/|$)/;
const MAX_CONTROL_BODY_BYTES = 8 * 1_024 * 1_024;
const MAX_STALL_MS = 120_000;
const LIMITS = { maxHeaderSize: 16 * 1_024, headersTimeout: 10_000, requestTimeout: 60_000, keepAliveTimeout: 60_000 };
const MAX_CONNECTIONS = 4_000;

/**
 * undefined when there is more of it. The rest is read and dropped: closing a connection with something unread in it can cost the
 * client the answer.
 */
async function readBody(request: IncomingMessage, limitBytes: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength;
    if (bytes <= limitBytes) chunks.push(chunk);
    else chunks.length = 0;
  }
  return bytes <= limitBytes ? Buffer.concat(chunks) : undefined;
}

function send(response: ServerResponse, { status, headers, body }: ApiAnswer): void {
  const type = body === '' ? {} : { 'Content-Type': 'application/json; charset=utf-8' };
  response.writeHead(status, { ...type, 'Content-Length': Buffer.byteLength(body), ...headers });
  // As a string, which leaves in one piece with the headers.
  response.end(body);
}

function answerSend(api: ProviderApi, request: ApiRequest, { faults, random, journal }: SimulatorServerOptions): Outcome {
  const trouble = troubleOf(faults(), random);
  if (trouble !== undefined) journal.counts.troubles[trouble] += 1;
  switch (trouble) {
    case 'fail':
    case 'unavailable':
    case 'throttle':
    case 'reject':
    case 'unauthorized':
      return api.refuse(trouble);
    case 'dropBeforeAccepting':
      return 'drop';
    default: {
      const { accepted, answer } = api.send(request);
      if (!accepted) journal.counts.refused += 1;
      if (!accepted || trouble === undefined) return answer;
      const INSTEAD = { dropAfterAccepting: 'drop', failAfterAccepting: api.refuse('fail'), stallAfterAccepting: 'stall' } as const;
      return INSTEAD[trouble];
    }
  }
}

function answerProvider(api: ProviderApi, request: ApiRequest, options: SimulatorServerOptions): Outcome {
  const { journal, random, faults } = options;
  const unauthorized = api.unauthorized(request);
  if (unauthorized !== undefined) {
    journal.counts.refused += 1;
    return unauthorized;
  }
  if (api.isSend(request)) return answerSend(api, request, options);
  journal.counts.lookups += 1;
  return random() < faults().lookupFail ? api.refuse('fail') : api.lookup(request);
}

/** Rejects when the port cannot be bound. */
export async function startSimulatorServer(options: SimulatorServerOptions): Promise<SimulatorServer> {
  const { host, providers, poster, faults, control } = options;

  const answer = async (incoming: IncomingMessage): Promise<Outcome> => {
    const url = URL.parse(incoming.url ?? '', 'http://simulator');
    if (url === null) return json(400, { error: 'bad path' });
    const path = url.pathname;
    const api = providers.find((provider) => provider.serves(path));
    const body = await readBody(incoming, api?.maxBodyBytes ?? MAX_CONTROL_BODY_BYTES);
    if (body === undefined) return api?.tooLarge() ?? json(413, { error: 'too large' });
    const request: ApiRequest = { method: incoming.method ?? '', path, query: url.searchParams, headers: incoming.headers, body };
    if (CONTROL_PATH.test(path)) return await control(request);
    if (api === undefined) return json(404, { error: 'not found; the simulator speaks /2010-04-01, /v3 and /simulator' });
    const outcome = answerProvider(api, request, options);
    const { delayMs } = faults();
    if (delayMs > 0) await poster.wait(delayMs);
    return outcome;
  };

  const server = createServer(LIMITS, (incoming, response) => {
    answer(incoming)
      .then((outcome) => {
        if (outcome === 'drop') incoming.socket.destroy();
        else if (outcome === 'stall') incoming.socket.setTimeout(MAX_STALL_MS, () => incoming.socket.destroy());
        else send(response, outcome);
      })
      .catch((error: unknown) => {
        if (incoming.complete) console.error('A request to the simulator failed:', error);
        // Otherwise the client went away while it was sending.
        response.destroy();
      });
  });
  server.maxConnections = MAX_CONNECTIONS;

  let { port } = options;
  const up = async () => {
    if (server.listening) return;
    server.listen(port, host);
    await once(server, 'listening');
    port = (server.address() as AddressInfo).port;
  };
  const down = async () => {
    if (!server.listening) return;
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  };
  await up();
  return { port, down, up };
}
