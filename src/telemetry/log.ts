/** The log: one JSON line per event, with the ids of the trace it belongs to and without anything private. */
import { type Logger, pino, stdTimeFunctions } from 'pino';
import { redactFields, redactText } from './redact.ts';
import { activeTrace } from './trace.ts';

/** Values are redacted by key and by look; an Error, best under `err`, is told by type, code and frames, never by its message. */
type LogFields = object;

interface LogLine {
  (message: string): void;
  (fields: LogFields, message: string): void;
}

export interface Log {
  readonly debug: LogLine;
  readonly info: LogLine;
  readonly warn: LogLine;
  readonly error: LogLine;
  /** A log whose every line carries `fields`. */
  child(fields: LogFields): Log;
  /** For lines that are dear to build. */
  isDebugEnabled(): boolean;
}

export interface LogOptions {
  /** fatal, error, warn, info, debug, trace or silent: the least severe line that is written. */
  readonly level: string;
  /** Name of the service in every line. */
  readonly service?: string;
  /** Receives whole lines; standard output when left out. */
  readonly destination?: { write(line: string): unknown };
}

function traceFields(): object {
  const active = activeTrace();
  return active === undefined ? {} : { trace_id: active.traceId, span_id: active.spanId };
}

function lineOf(logger: Logger, level: 'debug' | 'info' | 'warn' | 'error'): LogLine {
  return (first: string | LogFields, message?: string): void => {
    if (!logger.isLevelEnabled(level)) return;
    if (typeof first === 'string') logger[level](redactText(first));
    else logger[level](redactFields(first), redactText(message ?? ''));
  };
}

function wrap(logger: Logger): Log {
  return {
    debug: lineOf(logger, 'debug'),
    info: lineOf(logger, 'info'),
    warn: lineOf(logger, 'warn'),
    error: lineOf(logger, 'error'),
    child: (fields) => wrap(logger.child(redactFields(fields))),
    isDebugEnabled: () => logger.isLevelEnabled('debug'),
  };
}

export function createLog(options: LogOptions): Log {
  const settings = {
    level: options.level,
    base: { service: options.service ?? 'messaging-service' },
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    mixin: traceFields,
  };
  const { destination } = options;
  if (destination === undefined) return wrap(pino(settings));
  return wrap(pino(settings, { write: (line) => void destination.write(line) }));
}
