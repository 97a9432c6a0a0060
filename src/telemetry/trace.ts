/**
 * Spans for the other rooms, which never see OpenTelemetry. Whether a call is recorded is decided before its span is made: one that is
 * not costs a coin toss, and everything below it nothing. Without startTelemetry all of this does nothing.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';
import {
  type Attributes,
  context,
  isSpanContextValid,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  type SpanOptions,
  SpanStatusCode,
  TraceFlags,
  trace,
} from '@opentelemetry/api';
import {
  ATTR_DB_OPERATION_NAME,
  ATTR_DB_SYSTEM_NAME,
  ATTR_ERROR_TYPE,
  ATTR_HTTP_RESPONSE_STATUS_CODE,
  ATTR_RPC_METHOD,
  ATTR_RPC_STATUS_CODE,
  ATTR_RPC_SYSTEM_NAME,
  ATTR_SERVER_ADDRESS,
  ATTR_SERVER_PORT,
} from '@opentelemetry/semantic-conventions';
import { errorType } from './error-fields.ts';

const tracer = trace.getTracer('messaging-service');

type AttributeValue = string | number | boolean;

export interface SpanHandle {
  /** Never a message body, an address or a token. */
  set(name: string, value: AttributeValue): void;
}

/** The span of requests to a service of somebody else. */
export interface RequestSpan extends SpanHandle {
  /** HTTP status of the latest answer. */
  answered(status: number): void;
  /** `reason`: one of a closed set. */
  failed(reason: string): void;
}

export interface Sampling {
  /** False: nothing is recorded, whatever callers ask for; calls still have ids, so that their log lines can be found together. */
  readonly record: boolean;
  /** Share of the calls that bring no trace which are recorded, 0 to 1. */
  readonly ratio: number;
}

let sampling: Sampling | undefined;

/** For startTelemetry; undefined: off. */
export function setSampling(next: Sampling | undefined): void {
  sampling = next;
}

const NO_SPAN: RequestSpan = { set: () => undefined, answered: () => undefined, failed: () => undefined };

/** Whether spans that are started here are recorded. */
export function isRecorded(): boolean {
  return trace.getActiveSpan()?.isRecording() === true;
}

/**
 * Runs `work` in an INTERNAL span that is active during it, when it is part of a call that is recorded. When `work` throws, the span says
 * so by `error.type` alone, and the error goes on to the caller.
 */
export function withSpan<T>(
  name: string,
  attributes: Readonly<Record<string, AttributeValue>>,
  work: (span: SpanHandle) => Promise<T>,
): Promise<T> {
  return isRecorded() ? inSpan(name, { kind: SpanKind.INTERNAL, attributes: { ...attributes } }, work) : work(NO_SPAN);
}

/**
 * The wait for `answer` of a database as a CLIENT span, for commands that are sent for several calls at once: the driver's own span
 * could be in the trace of one.
 */
export function withClientSpan<T>(system: string, operation: string, answer: Promise<T>): Promise<T> {
  const attributes = { [ATTR_DB_SYSTEM_NAME]: system, [ATTR_DB_OPERATION_NAME]: operation };
  return isRecorded() ? inSpan(operation, { kind: SpanKind.CLIENT, attributes }, () => answer) : answer;
}

/** Runs `work`, which asks `service` for something, in a CLIENT span. The service is not told of the trace. */
export function withRequestSpan<T>(service: string, operation: string, server: URL, work: (span: RequestSpan) => Promise<T>): Promise<T> {
  if (!isRecorded()) return work(NO_SPAN);
  const attributes: Attributes = { [ATTR_SERVER_ADDRESS]: server.hostname };
  if (server.port !== '') attributes[ATTR_SERVER_PORT] = Number(server.port);
  return inSpan(`${service} ${operation}`, { kind: SpanKind.CLIENT, attributes }, work);
}

function inSpan<T>(name: string, options: SpanOptions, work: (span: RequestSpan) => Promise<T>): Promise<T> {
  return tracer.startActiveSpan(name, options, async (span) => {
    try {
      return await work({
        set: (key, value) => span.setAttribute(key, value),
        answered: (status) => span.setAttribute(ATTR_HTTP_RESPONSE_STATUS_CODE, status),
        failed: (reason) => span.setAttribute(ATTR_ERROR_TYPE, reason).setStatus({ code: SpanStatusCode.ERROR }),
      });
    } catch (error) {
      span.setAttribute(ATTR_ERROR_TYPE, errorType(error)).setStatus({ code: SpanStatusCode.ERROR });
      throw error;
    } finally {
      span.end();
    }
  });
}

/** Runs `work` without spans of its own: for what is done so often in one call that its trace could not be read, or stored. */
export function withoutSpans<T>(work: () => T): T {
  const active = trace.getActiveSpan()?.spanContext();
  if (active === undefined) return work();
  // Spans below one that is not recorded are not recorded either.
  return context.with(trace.setSpanContext(context.active(), { ...active, traceFlags: TraceFlags.NONE }), work);
}

export interface ServerSpanOptions {
  /** Request headers, names in lower case; `traceparent`, `tracestate` and `baggage` are read. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly system: 'grpc' | 'connectrpc';
  /** `messaging.v1.MessageService/GetMessage`, or `_OTHER` when the service has no such method. */
  readonly method: string;
  /** Where the client believes the server is. */
  readonly address?: string | undefined;
  readonly port?: number | undefined;
}

export interface ServerSpan {
  /** Runs `fn` with this span as the active one, across its awaits. */
  run<T>(fn: () => T): T;
  /** Who calls. */
  identify(caller: string): void;
  /** `statusCode` as gRPC spells it, `NOT_FOUND`. `isServerError`: the fault is this side's. Later calls do nothing. */
  end(statusCode: string, isServerError: boolean): void;
  readonly traceId: string | undefined;
  /** Ids to point at from elsewhere; undefined when the trace is not recorded. */
  readonly sampled: { readonly traceId: string; readonly spanId: string } | undefined;
}

/** A traceparent, version 00 and what is compatible with it: trace id, span id, flags. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})/;

/** A call that nobody will look at as a trace. Its ids are made when the first log line asks for them. */
class UnrecordedCall implements ServerSpan {
  readonly sampled = undefined;
  readonly #callersTraceId: string | undefined;
  #ids: { readonly traceId: string; readonly spanId: string } | undefined;

  constructor(callersTraceId: string | undefined) {
    this.#callersTraceId = callersTraceId;
  }

  get ids(): { readonly traceId: string; readonly spanId: string } {
    if (this.#ids === undefined) {
      const random = randomBytes(24).toString('hex');
      this.#ids = { traceId: this.#callersTraceId ?? random.slice(16), spanId: random.slice(0, 16) };
    }
    return this.#ids;
  }

  get traceId(): string {
    return this.ids.traceId;
  }

  run<T>(fn: () => T): T {
    return unrecordedCalls.run(this, fn);
  }

  identify(): void {
    // Nobody will look.
  }

  end(): void {
    // There is nothing to end.
  }
}

const unrecordedCalls = new AsyncLocalStorage<UnrecordedCall>();

const NO_TELEMETRY: ServerSpan = {
  run: (fn) => fn(),
  identify: () => undefined,
  end: () => undefined,
  traceId: undefined,
  sampled: undefined,
};

/** Starts the SERVER span of one call, as a child of the caller's span when the headers name one. */
export function startServerSpan(options: ServerSpanOptions): ServerSpan {
  if (sampling === undefined) return NO_TELEMETRY;
  const traceparent = options.headers['traceparent'];
  const [, callersTraceId, flags = ''] = typeof traceparent === 'string' ? (TRACEPARENT.exec(traceparent) ?? []) : [];
  const wanted = callersTraceId === undefined ? Math.random() < sampling.ratio : (Number.parseInt(flags, 16) & TraceFlags.SAMPLED) !== 0;
  return sampling.record && wanted ? startRecordedSpan(options) : new UnrecordedCall(callersTraceId);
}

function startRecordedSpan(options: ServerSpanOptions): ServerSpan {
  const { system, method, address, port } = options;
  const attributes: Attributes = { [ATTR_RPC_SYSTEM_NAME]: system, [ATTR_RPC_METHOD]: method };
  if (address !== undefined) attributes[ATTR_SERVER_ADDRESS] = address;
  if (port !== undefined) attributes[ATTR_SERVER_PORT] = port;
  const parent = propagation.extract(ROOT_CONTEXT, options.headers);
  const span = tracer.startSpan(method === '_OTHER' ? system : method, { kind: SpanKind.SERVER, attributes }, parent);
  const active = trace.setSpan(parent, span);
  const spanContext = span.spanContext();
  const { traceId, spanId, traceFlags } = spanContext;
  const valid = isSpanContextValid(spanContext);
  let ended = false;
  return {
    run: (fn) => context.with(active, fn),
    identify: (caller) => span.setAttribute('enduser.id', caller),
    end(statusCode, isServerError) {
      if (ended) return;
      ended = true;
      span.setAttribute(ATTR_RPC_STATUS_CODE, statusCode);
      if (isServerError) span.setAttribute(ATTR_ERROR_TYPE, statusCode).setStatus({ code: SpanStatusCode.ERROR });
      span.end();
    },
    traceId: valid ? traceId : undefined,
    sampled: valid && (traceFlags & TraceFlags.SAMPLED) !== 0 ? { traceId, spanId } : undefined,
  };
}

/** The active span as a W3C traceparent, for whoever goes on with it later; empty when the trace is not recorded. */
export function traceParent(): string {
  const spanContext = trace.getActiveSpan()?.spanContext();
  if (spanContext === undefined || !isSpanContextValid(spanContext) || (spanContext.traceFlags & TraceFlags.SAMPLED) === 0) return '';
  return `00-${spanContext.traceId}-${spanContext.spanId}-01`;
}

export interface ContinuedSpan {
  readonly name: string;
  readonly kind: 'consumer' | 'server';
  readonly attributes: Readonly<Record<string, AttributeValue>>;
  /** The span to go on from, of another process or an earlier time; empty: begin a trace, by the usual toss of a coin. */
  readonly parent: string;
  /** Spans that belong to it in other traces. */
  readonly links?: readonly string[];
}

/** Runs `work` in a span that continues a trace from another time or process. When `work` throws, as withSpan. */
export function continueTrace<T>(span: ContinuedSpan, work: (span: SpanHandle) => Promise<T>): Promise<T> {
  if (sampling === undefined || !sampling.record) return work(NO_SPAN);
  if (span.parent === '' && Math.random() >= sampling.ratio) return work(NO_SPAN);
  const parent = span.parent === '' ? ROOT_CONTEXT : propagation.extract(ROOT_CONTEXT, { traceparent: span.parent });
  const links = (span.links ?? []).flatMap((link) => {
    const linked = trace.getSpanContext(propagation.extract(ROOT_CONTEXT, { traceparent: link }));
    return linked === undefined ? [] : [{ context: linked }];
  });
  const kind = span.kind === 'consumer' ? SpanKind.CONSUMER : SpanKind.SERVER;
  return context.with(parent, () => inSpan(span.name, { kind, attributes: { ...span.attributes }, links }, work));
}

export interface ActiveTrace {
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;
}

/** The span that is active here; undefined outside of any. */
export function activeTrace(): ActiveTrace | undefined {
  const spanContext = trace.getActiveSpan()?.spanContext();
  if (spanContext === undefined || !isSpanContextValid(spanContext)) {
    const call = unrecordedCalls.getStore();
    return call && { ...call.ids, sampled: false };
  }
  const { traceId, spanId, traceFlags } = spanContext;
  return { traceId, spanId, sampled: (traceFlags & TraceFlags.SAMPLED) !== 0 };
}
