/** Spans that drivers' instrumentations start, with everything that can hold a value taken out before the SDK sees it. */
import type { Attributes, AttributeValue, Exception, Span, SpanOptions, Tracer, TracerProvider } from '@opentelemetry/api';
import { ATTR_DB_QUERY_TEXT, ATTR_DB_RESPONSE_STATUS_CODE, ATTR_ERROR_TYPE } from '@opentelemetry/semantic-conventions';
import { errorType } from './error-fields.ts';
import { scrubSql } from './scrub-sql.ts';

function safeValue(key: string, value: AttributeValue): AttributeValue {
  return key === ATTR_DB_QUERY_TEXT && typeof value === 'string' ? scrubSql(value) : value;
}

/** The pg instrumentation puts the first word of the statement into the name, and a word may hold a literal: `SELECT'secret'`. */
function safeName(name: string): string {
  return name.startsWith('pg.query') ? 'pg.query' : name;
}

/** The pg instrumentation reports an error as a sentence that ends in its SQLSTATE. */
const SQLSTATE = /\(code: ([0-9A-Z]{5})\)$/;

function describeFailure(span: Span, exception: Exception): void {
  if (typeof exception !== 'string') {
    span.setAttribute(ATTR_ERROR_TYPE, errorType(exception));
    return;
  }
  const sqlState = SQLSTATE.exec(exception)?.[1];
  if (sqlState === undefined) span.setAttribute(ATTR_ERROR_TYPE, '_OTHER');
  else span.setAttribute(ATTR_ERROR_TYPE, sqlState).setAttribute(ATTR_DB_RESPONSE_STATUS_CODE, sqlState);
}

function guardSpan(span: Span): Span {
  if (!span.isRecording()) return span;
  const setAttribute = span.setAttribute.bind(span);
  const setStatus = span.setStatus.bind(span);
  return Object.assign(span, {
    setAttribute: (key: string, value: AttributeValue) => setAttribute(key, safeValue(key, value)),
    // A driver's message repeats values: `invalid input syntax for type uuid: "..."`.
    setStatus: ({ code }: { readonly code: number }) => setStatus({ code }),
    recordException: (exception: Exception) => describeFailure(span, exception),
  });
}

function guardTracer(tracer: Tracer): Tracer {
  const startSpan = (name: string, options: SpanOptions = {}, ...rest: [context?: Parameters<Tracer['startSpan']>[2]]): Span => {
    const attributes: Attributes = {};
    for (const [key, value] of Object.entries(options.attributes ?? {})) {
      if (value !== undefined) attributes[key] = safeValue(key, value);
    }
    return guardSpan(tracer.startSpan(safeName(name), { ...options, attributes }, ...rest));
  };
  return Object.create(tracer, { startSpan: { value: startSpan } });
}

/** A provider for instrumentations: no literal in `db.query.text`, no message and no exception event on a failure. */
export function withoutValues(provider: TracerProvider): TracerProvider {
  return { getTracer: (...scope) => guardTracer(provider.getTracer(...scope)) };
}
