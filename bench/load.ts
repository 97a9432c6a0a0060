/** The load generator, a process of its own: runs one window of load after another, as the process that started it asks. */
import { type Http2Connection, openHttp2Connection, type PreparedCall, prepareCall, type RunningCall } from './http2-connection.ts';
import { cpuUs } from './process-cost.ts';

/** Requests, encoded, and what each answer must hold. Sent once, then referred to by name. */
export interface RequestSet {
  readonly name: string;
  readonly requests: readonly Uint8Array[];
  /** Empty: an answer of any content will do. */
  readonly markers: readonly string[];
  /** A shorter answer counts as failed. */
  readonly leastAnswerBytes: number;
}

export interface Window {
  readonly port: number;
  /** Whose CPU time is counted. */
  readonly pid: number;
  /** `/messaging.v1.MessageService/GetMessage` */
  readonly path: string;
  readonly requestSet: string;
  /** `cycle`: one after another, and again. */
  readonly order: 'random' | 'cycle';
  /** The window ends, even before its time, once so many requests were sent. */
  readonly limit?: number | undefined;
  readonly connections: number;
  /** Of all connections together. Fewer than connections: they take turns. */
  readonly inFlight: number;
  /** Requests a second, sent when due whether or not earlier ones are answered. Without it, the next follows each answer. */
  readonly rate?: number | undefined;
  /** Load before the window begins. */
  readonly rampMs: number;
  readonly windowMs: number;
}

export interface WindowResult {
  readonly requests: number;
  readonly seconds: number;
  /** Of the server. */
  readonly cpuUs: number;
  /** Of this process. */
  readonly loadCpuUs: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly failed: number;
  readonly failure: string;
}

export type Order =
  | { readonly kind: 'requests'; readonly number: number; readonly set: RequestSet }
  | { readonly kind: 'window'; readonly number: number; readonly window: Window };
export type Reply = { readonly number: number; readonly result?: WindowResult; readonly error?: string };

const DRAIN_TIMEOUT_MS = 5_000;
/** An open loop that falls behind must not break the servers' limit of streams per connection. */
const MOST_IN_FLIGHT_PER_CONNECTION = 500;
const MOST_LATENCIES = 4_000_000;

const requestSets = new Map<string, readonly PreparedCall[]>();
const latenciesMs = new Float64Array(MOST_LATENCIES);

function percentileUs(sortedMs: Float64Array, share: number): number {
  return 1_000 * (sortedMs[Math.min(sortedMs.length - 1, Math.floor(sortedMs.length * share))] ?? Number.NaN);
}

/** undefined once the limit is reached. */
function chooser(calls: readonly PreparedCall[], { order, limit = Number.POSITIVE_INFINITY }: Window): () => PreparedCall | undefined {
  let taken = 0;
  return () => {
    if (taken >= limit) return undefined;
    taken += 1;
    return calls[order === 'cycle' ? (taken - 1) % calls.length : Math.floor(Math.random() * calls.length)];
  };
}

/** The calls of one window, over all its connections. */
class Traffic {
  answered = 0;
  failed = 0;
  failure = '';
  /** Calls due from this time on count for the latencies. */
  recordFromMs = Number.POSITIVE_INFINITY;
  recorded = 0;
  /** No more calls to send, or a failure. */
  readonly over = Promise.withResolvers<void>();
  readonly #drained = Promise.withResolvers<void>();
  readonly #window: Window;
  readonly #next: () => PreparedCall | undefined;
  readonly #connections: Http2Connection[] = [];
  #inFlight = 0;
  #turn = 0;
  #sending = true;

  constructor(window: Window, calls: readonly PreparedCall[]) {
    this.#window = window;
    this.#next = chooser(calls, window);
  }

  async connect(): Promise<void> {
    const { port, path, connections } = this.#window;
    for (let index = 0; index < connections; index += 1) {
      const opened: Http2Connection = await openHttp2Connection(port, path, {
        onAnswer: (call) => this.#onAnswer(call, opened),
        onFailure: (reason) => this.fail(reason),
        onBatch: () => opened.flush(),
      });
      this.#connections.push(opened);
    }
  }

  start(): void {
    const { rate, inFlight } = this.#window;
    if (rate !== undefined) {
      void this.#openLoop(rate);
      return;
    }
    const nowMs = performance.now();
    for (let index = 0; index < inFlight; index += 1) this.#send(this.#takeTurn(), nowMs);
    for (const connection of this.#connections) connection.flush();
  }

  fail(reason: string): void {
    this.failed += 1;
    this.failure = reason;
    // A server that fails once is not worth measuring.
    this.#sending = false;
    this.over.resolve();
    this.#drained.resolve();
  }

  async stop(): Promise<void> {
    this.#sending = false;
    if (this.#inFlight > 0 && this.failed === 0) {
      const timer = setTimeout(() => this.fail('no answer at all'), DRAIN_TIMEOUT_MS);
      await this.#drained.promise;
      clearTimeout(timer);
    }
    for (const connection of this.#connections) connection.close();
  }

  #takeTurn(): Http2Connection | undefined {
    this.#turn += 1;
    return this.#connections[this.#turn % this.#connections.length];
  }

  #send(connection: Http2Connection | undefined, dueMs: number): void {
    const call = this.#next();
    if (call === undefined || connection === undefined) {
      this.#sending = false;
      this.over.resolve();
      return;
    }
    this.#inFlight += 1;
    connection.send(call, dueMs);
  }

  #onAnswer(call: RunningCall, connection: Http2Connection): void {
    this.#inFlight -= 1;
    this.answered += 1;
    const nowMs = performance.now();
    if (call.dueMs >= this.recordFromMs && this.recorded < MOST_LATENCIES) {
      latenciesMs[this.recorded] = nowMs - call.dueMs;
      this.recorded += 1;
    }
    if (!this.#sending) {
      if (this.#inFlight === 0) this.#drained.resolve();
    } else if (this.#window.rate === undefined) {
      if (this.#window.inFlight >= this.#window.connections) this.#send(connection, nowMs);
      else this.#sendElsewhere(nowMs);
    }
  }

  #sendElsewhere(nowMs: number): void {
    const connection = this.#takeTurn();
    this.#send(connection, nowMs);
    connection?.flush();
  }

  /**
   * Sends what has become due, once a millisecond: timers of Node are no finer, and a loop that watched the clock would keep the databases
   * from the core they share. So requests come in small bursts, whether or not earlier ones are answered, and their time counts from then.
   */
  async #openLoop(rate: number): Promise<void> {
    const beganMs = performance.now();
    const most = MOST_IN_FLIGHT_PER_CONNECTION * this.#connections.length;
    for (let sent = 0; this.#sending; ) {
      const nowMs = performance.now();
      const due = Math.floor(((nowMs - beganMs) / 1_000) * rate);
      for (; sent < due && this.#inFlight < most && this.#sending; sent += 1) this.#send(this.#takeTurn(), nowMs);
      for (const connection of this.#connections) connection.flush();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}

async function runWindow(window: Window): Promise<WindowResult> {
  const calls = requestSets.get(window.requestSet);
  if (calls === undefined) throw new Error(`unknown requests: ${window.requestSet}`);
  const traffic = new Traffic(window, calls);
  await traffic.connect();
  traffic.start();
  const overOrAfter = async (ms: number): Promise<void> => {
    const wait = Promise.withResolvers<void>();
    const timer = setTimeout(wait.resolve, ms);
    await Promise.race([traffic.over.promise, wait.promise]);
    clearTimeout(timer);
  };
  if (window.rampMs > 0) await overOrAfter(window.rampMs);
  traffic.recordFromMs = performance.now();
  const before = { answered: traffic.answered, cpuUs: cpuUs(window.pid), own: process.cpuUsage() };
  await overOrAfter(window.windowMs);
  const seconds = (performance.now() - traffic.recordFromMs) / 1_000;
  const own = process.cpuUsage(before.own);
  const requests = traffic.answered - before.answered;
  const serverCpuUs = cpuUs(window.pid) - before.cpuUs;
  await traffic.stop();
  const sorted = latenciesMs.slice(0, traffic.recorded).sort();
  return {
    requests,
    seconds,
    cpuUs: serverCpuUs,
    loadCpuUs: own.user + own.system,
    p50Us: percentileUs(sorted, 0.5),
    p99Us: percentileUs(sorted, 0.99),
    failed: traffic.failed,
    failure: traffic.failure,
  };
}

function remember({ name, requests, markers, leastAnswerBytes }: RequestSet): void {
  const expected = (index: number) => {
    const marker = markers[index];
    return { leastBytes: leastAnswerBytes, marker: marker === undefined ? undefined : Buffer.from(marker, 'latin1') };
  };
  requestSets.set(
    name,
    requests.map((request, index) => prepareCall(request, expected(index))),
  );
}

async function obey(order: Order): Promise<Reply> {
  try {
    if (order.kind === 'window') return { number: order.number, result: await runWindow(order.window) };
    remember(order.set);
    return { number: order.number };
  } catch (error) {
    return { number: order.number, error: String(error) };
  }
}

process.on('message', (order: Order) => void obey(order).then((reply) => process.send?.(reply)));
process.on('disconnect', () => process.exit());
