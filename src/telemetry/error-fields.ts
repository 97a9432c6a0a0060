/** What may be told of an error. Never its message: drivers repeat values in it. */

const MAX_FRAMES = 20;
const MAX_DEPTH = 5;
const MAX_ERRORS = 5;

export interface ErrorFields {
  /** Class name. */
  readonly type: string;
  /** SQLSTATE, errno name or DomainError code. */
  readonly code?: string;
  /** Database constraint that was violated. */
  readonly constraint?: string;
  /** Frames, innermost first. */
  readonly stack?: readonly string[];
  readonly cause?: ErrorFields;
  readonly errors?: readonly ErrorFields[];
}

/** A name made by a programmer; anything else could be a value. */
function asName(value: unknown): string | undefined {
  if (typeof value === 'number') return String(value);
  return typeof value === 'string' && /^[A-Za-z0-9_.-]{1,64}$/.test(value) ? value : undefined;
}

function property(error: object, key: string): unknown {
  return (error as Readonly<Record<string, unknown>>)[key];
}

function className(error: Error): string {
  const fromClass = asName(error.constructor?.name);
  return fromClass === undefined || fromClass === 'Error' ? (asName(error.name) ?? 'Error') : fromClass;
}

/** For `error.type`: the code where there is one, else the class name. */
export function errorType(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  return asName(property(error, 'code')) ?? className(error);
}

const PLACE = String.raw`(?:file:\/\/\/|node:|\/|<anonymous>)[^\s()]{0,400}(?::\d+:\d+)?`;
const FRAME = new RegExp(
  String.raw`^\s+at (?:[\w$.<># ]{1,200}(?: \[as [\w$.<># ]{1,80}\])? \((?:${PLACE}|index \d+|native)\)|(?:async )?${PLACE})$`,
);

/** Frames only. A wrapped error may carry several headers, and a message may have lines that look like frames: both are cut out. */
function frames(error: Error, messages: readonly string[]): readonly string[] {
  let stack = typeof error.stack === 'string' ? error.stack : '';
  for (const message of messages) stack = stack.replaceAll(message, '');
  return stack
    .split('\n')
    .filter((line) => FRAME.test(line))
    .slice(0, MAX_FRAMES)
    .map((line) => line.trim().slice('at '.length));
}

function messagesOf(error: unknown, depth: number): string[] {
  if (!(error instanceof Error) || depth > MAX_DEPTH) return [];
  return [error.message, ...messagesOf(error.cause, depth + 1)].filter((message) => typeof message === 'string' && message !== '');
}

/** Type, code, constraint and frames of an error and of its causes. */
export function errorFields(error: unknown, depth = 0): ErrorFields {
  if (!(error instanceof Error)) return { type: typeof error };
  const code = asName(property(error, 'code'));
  const constraint = asName(property(error, 'constraint'));
  const stack = frames(error, messagesOf(error, 0));
  const deeper = depth < MAX_DEPTH;
  return {
    type: className(error),
    ...(code === undefined ? {} : { code }),
    ...(constraint === undefined ? {} : { constraint }),
    ...(stack.length === 0 ? {} : { stack }),
    ...(error.cause !== undefined && deeper ? { cause: errorFields(error.cause, depth + 1) } : {}),
    ...(error instanceof AggregateError && deeper
      ? { errors: error.errors.slice(0, MAX_ERRORS).map((inner) => errorFields(inner, depth + 1)) }
      : {}),
  };
}
