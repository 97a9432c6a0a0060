/** What is known of one call at the HTTP/2 stream, shared with the handlers through Connect's context values. */
import type { Http2ServerRequest } from 'node:http2';
import { Code, createContextKey, type HandlerContext } from '@connectrpc/connect';
import type { Read } from '../domain/ports.ts';

export interface CallInfo {
  /** Full name of the method, `messaging.v1.MessageService/GetMessage`; undefined when there is no such method. */
  readonly method: string | undefined;
  /** The code that the handler or an interceptor decided on; undefined when the call did not get that far. */
  code: Code | 'OK' | undefined;
  /** How the caller was told that the call ended, whatever the handler still does; undefined until then. */
  told: Code | 'OK' | undefined;
  /** Who calls. */
  readonly caller: string;
}

/** Until callers are authenticated, all are one. */
const ANONYMOUS = 'anonymous';

export const callKey = createContextKey<CallInfo | undefined>(undefined);

const calls = new WeakMap<Http2ServerRequest, CallInfo>();

export function openCall(request: Http2ServerRequest, method: string | undefined): CallInfo {
  const call: CallInfo = { method, code: undefined, told: undefined, caller: ANONYMOUS };
  calls.set(request, call);
  return call;
}

export function callOf(request: Http2ServerRequest): CallInfo | undefined {
  return calls.get(request);
}

export function callerOf(context: HandlerContext): string {
  return context.values.get(callKey)?.caller ?? ANONYMOUS;
}

/** Tells the caller where the answer came from, and how long ago it was known to be current. */
export function tellSource(context: HandlerContext, { source, ageMs }: Pick<Read<unknown>, 'source' | 'ageMs'>): void {
  context.responseHeader.set('x-cache', source);
  context.responseHeader.set('x-cache-age-ms', String(Math.ceil(ageMs)));
}

const CODE_NAMES = new Map<number, string>(
  Object.entries(Code).flatMap(([name, code]) =>
    typeof code === 'number' ? [[code, name.replace(/(?<=[a-z])[A-Z]/g, '_$&').toUpperCase()] as const] : [],
  ),
);

/** `NOT_FOUND` for Code.NotFound; gRPC spells CANCELLED with two L. */
export function codeName(code: Code | 'OK'): string {
  if (code === 'OK') return code;
  return code === Code.Canceled ? 'CANCELLED' : (CODE_NAMES.get(code) ?? 'UNKNOWN');
}
