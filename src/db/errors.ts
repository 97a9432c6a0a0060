import { DomainError } from '../domain/errors.ts';

/** Node and pg codes of a server that cannot be reached or went away. */
const NETWORK_CODES = new Set(['ECONNREFUSED', 'ECONNRESET', 'ENOTFOUND', 'EAI_AGAIN', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENOENT']);
/**
 * 08 connection, 53 too many resources, 57P shutdown and 57014 statement timeout, 55P03 lock timeout, 25P0x session timeouts, 25006
 * read-only standby, 55000 what a standby cannot tell: the place in the write-ahead log, which watches ask for.
 */
const UNAVAILABLE_SQLSTATE = /^(08...|53...|57P0.|57014|55000|55P03|25P0[34]|25006|3D000|28...)$/;
const REPEATABLE_SQLSTATE = new Set(['40001', '40P01']);
const LOST_CONNECTION =
  /connection terminated|timeout exceeded when trying to connect|connection timeout|query read timeout|client has encountered a connection error|client was closed|cannot use a pool|connection ended/i;

interface DriverError {
  readonly code: string | undefined;
  readonly constraint: string | undefined;
  readonly message: string;
}

/** The driver's own error below the wrappers of the ORM and of AggregateError. */
function driverErrors(error: unknown, depth = 0): readonly DriverError[] {
  if (!(error instanceof Error) || depth > 4) return [];
  const { code, constraint, previous, errors } = error as Error & {
    code?: unknown;
    constraint?: unknown;
    previous?: unknown;
    errors?: unknown;
  };
  const own = {
    code: typeof code === 'string' ? code : undefined,
    constraint: typeof constraint === 'string' ? constraint : undefined,
    message: error.message,
  };
  const below = [previous, error.cause, ...(Array.isArray(errors) ? errors : [])];
  return [own, ...below.flatMap((inner) => driverErrors(inner, depth + 1))];
}

/** True when PostgreSQL rolled the transaction back only because of what ran beside it. */
export function isRepeatable(error: unknown): boolean {
  return driverErrors(error).some(({ code }) => code !== undefined && REPEATABLE_SQLSTATE.has(code));
}

/** True when the error is the violation of this unique constraint or index. */
export function violates(error: unknown, constraint: string): boolean {
  return driverErrors(error).some((driver) => driver.code === '23505' && driver.constraint === constraint);
}

function isUnavailable({ code, message }: DriverError): boolean {
  if (code !== undefined && (NETWORK_CODES.has(code) || UNAVAILABLE_SQLSTATE.test(code))) return true;
  return code === undefined && LOST_CONNECTION.test(message);
}

/** True when nothing more can be done in the transaction that met the error. */
export function endsTransaction(error: unknown): boolean {
  const known = toDomainError(error);
  return isRepeatable(error) || (known instanceof DomainError && known.code === 'storage_unavailable');
}

/** storage_unavailable for whatever passes by itself; everything else stays what it is, and is a bug. */
export function toDomainError(error: unknown): unknown {
  if (error instanceof DomainError) return error;
  const errors = driverErrors(error);
  if (errors.some(isUnavailable) || isRepeatable(error)) {
    return new DomainError('storage_unavailable', 'the database cannot be reached; try again', { cause: error });
  }
  return error;
}

/** Runs statements outside of the transactions of the store; what they throw goes through toDomainError(). */
export async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw toDomainError(error);
  }
}
