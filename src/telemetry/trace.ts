/** Spans for the other rooms, which never see OpenTelemetry. Without startTelemetry all of this does nothing, cheaply. */
import {
  type Attributes,
  context,
  isSpanContextValid,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  trace,
} from '@opentelemetry/api';
import {
  ATTR_ERROR_TYPE,
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

/**
 * Runs `work` in an INTERNAL span that is active during it. When `work` throws, the span says so by `error.type` alone, and the error
 * goes on to the caller.
 */
export function withSpan<T>(
  name: string,
  attributes: Readonly<Record<string, AttributeValue>>,
  work: (span: SpanHandle) => Promise<T>,
): Promise<T> {
  return tracer.startActiveSpan(name, { kind: SpanKind.INTERNAL, attributes: { ...attributes } }, async (span) => {
    try {
      return await work({ set: (key, value) => span.setAttribute(key, value) });
    } catch (error) {
      span.setAttribute(ATTR_ERROR_TYPE, errorType(error)).setStatus({ code: SpanStatusCode.ERROR });
      throw error;
    } finally {
      span.end();
    }
  });
}

/** Runs `work` without spans of its own: for what is done so often in one call that its trace could not be read, or stored. */
export function withoutSpans<T>(work: () => Promise<T>): Promise<T> {
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
  /** `statusCode` as gRPC spells it, `NOT_FOUND`. `isServerError`: the fault is this side's. Later calls do nothing. */
  end(statusCode: string, isServerError: boolean): void;
  readonly traceId: string | undefined;
  /** Ids to point at from elsewhere; undefined when the trace is not recorded. */
  readonly sampled: { readonly traceId: string; readonly spanId: string } | undefined;
}

/** Starts the SERVER span of one call, as a child of the caller's span when the headers name one. */
export function startServerSpan(options: ServerSpanOptions): ServerSpan {
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

export interface ActiveTrace {
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;
}

/** The span that is active here; undefined outside of any. */
export function activeTrace(): ActiveTrace | undefined {
  const spanContext = trace.getActiveSpan()?.spanContext();
  if (spanContext === undefined || !isSpanContextValid(spanContext)) return undefined;
  const { traceId, spanId, traceFlags } = spanContext;
  return { traceId, spanId, sampled: (traceFlags & TraceFlags.SAMPLED) !== 0 };
}
