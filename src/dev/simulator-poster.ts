/** Posts to webhooks over kept connections, at most so many at once; disposing cancels all of it. */
import { Agent, type ClientRequest, type IncomingMessage, request as openRequest } from 'node:http';

export interface WebhookRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export type WebhookAnswer =
  | {
      readonly kind: 'answered';
      readonly status: number;
      readonly contentType: string;
      /** The first 64 KiB. */
      readonly body: string;
    }
  | {
      readonly kind: 'unanswered';
      /** No connection; no whole answer; no URL to post to, or one that is not http; disposed. */
      readonly reason: 'connect' | 'read' | 'unaddressed' | 'cancelled';
    };

export interface Timeouts {
  readonly connectTimeoutMs: number;
  /** Until the whole answer is there. */
  readonly readTimeoutMs: number;
}

const MAX_ANSWER_BYTES = 64 * 1_024;
const CANCELLED: WebhookAnswer = { kind: 'unanswered', reason: 'cancelled' };
const UNADDRESSED: WebhookAnswer = { kind: 'unanswered', reason: 'unaddressed' };

function addressOf(url: string): URL | undefined {
  const parsed = URL.parse(url);
  return parsed?.protocol === 'http:' ? parsed : undefined;
}

/** Rejects when the connection breaks before the end, unless that is past what is kept. */
async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.byteLength;
    // Leaving the loop destroys the response.
    if (bytes >= MAX_ANSWER_BYTES) break;
  }
  return Buffer.concat(chunks).subarray(0, MAX_ANSWER_BYTES).toString('utf8');
}

export class WebhookPoster implements Disposable {
  readonly #maxInFlight: number;
  readonly #agent: Agent;
  readonly #requests = new Set<ClientRequest>();
  readonly #timers = new Map<NodeJS.Timeout, (elapsed: boolean) => void>();
  /** In order of arrival; each is told whether it may go. */
  readonly #waiting = new Set<(mayGo: boolean) => void>();
  #inFlight = 0;
  #tracked = 0;
  #idle = Promise.withResolvers<void>();
  #closed = false;

  constructor(maxInFlight: number) {
    this.#maxInFlight = maxInFlight;
    this.#agent = new Agent({ keepAlive: true, maxFreeSockets: maxInFlight });
  }

  /** Pieces of work that have not ended. */
  get pending(): number {
    return this.#tracked;
  }

  /** Counts as pending until it ends. `work` must not reject. */
  track<Result>(work: Promise<Result>): Promise<Result> {
    this.#tracked += 1;
    return work.finally(() => {
      this.#tracked -= 1;
      if (this.#tracked > 0) return;
      this.#idle.resolve();
      this.#idle = Promise.withResolvers<void>();
    });
  }

  /** Resolves once nothing is pending. */
  async idle(): Promise<void> {
    if (this.#tracked > 0) await this.#idle.promise;
  }

  /** False: disposed before the time had passed. */
  wait(ms: number): Promise<boolean> {
    if (this.#closed) return Promise.resolve(false);
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        resolve(true);
      }, ms);
      this.#timers.set(timer, resolve);
    });
  }

  /** Never rejects. */
  async post(request: WebhookRequest, timeouts: Timeouts): Promise<WebhookAnswer> {
    const address = addressOf(request.url);
    if (address === undefined) return UNADDRESSED;
    if (!(await this.#mayGo())) return CANCELLED;
    try {
      return await this.#exchange(address, request, timeouts);
    } finally {
      this.#leave();
    }
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    for (const [timer, resolve] of this.#timers) {
      clearTimeout(timer);
      resolve(false);
    }
    this.#timers.clear();
    for (const tell of this.#waiting) tell(false);
    this.#waiting.clear();
    for (const outgoing of this.#requests) outgoing.destroy();
    this.#agent.destroy();
  }

  #mayGo(): Promise<boolean> {
    if (this.#closed) return Promise.resolve(false);
    if (this.#inFlight < this.#maxInFlight) {
      this.#inFlight += 1;
      return Promise.resolve(true);
    }
    return new Promise((resolve) => this.#waiting.add(resolve));
  }

  /** Its place goes to whoever has waited longest. */
  #leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#inFlight -= 1;
      return;
    }
    this.#waiting.delete(next);
    next(true);
  }

  #exchange(address: URL, { headers, body }: WebhookRequest, timeouts: Timeouts): Promise<WebhookAnswer> {
    return new Promise((resolve) => {
      let phase: 'connect' | 'read' = 'connect';
      const outgoing = openRequest(address, {
        agent: this.#agent,
        method: 'POST',
        headers: { ...headers, 'Content-Length': body.byteLength },
      });
      const giveUp = () => outgoing.destroy(new Error('timed out'));
      let timer = setTimeout(giveUp, timeouts.connectTimeoutMs);
      const finish = (answer: WebhookAnswer) => {
        clearTimeout(timer);
        this.#requests.delete(outgoing);
        resolve(answer);
      };
      const fail = () => finish({ kind: 'unanswered', reason: this.#closed ? 'cancelled' : phase });
      const connected = () => {
        phase = 'read';
        clearTimeout(timer);
        timer = setTimeout(giveUp, timeouts.readTimeoutMs);
      };
      this.#requests.add(outgoing);
      outgoing.on('error', fail);
      outgoing.on('socket', (socket) => {
        if (socket.connecting) socket.once('connect', connected);
        else connected();
      });
      outgoing.on('response', (response) => {
        const { statusCode: status = 0, headers: answered } = response;
        textOf(response).then(
          (text) => finish({ kind: 'answered', status, contentType: answered['content-type'] ?? '', body: text }),
          fail,
        );
      });
      outgoing.end(body);
    });
  }
}
