/** How long a call may take: read from its headers before anything else of it has arrived, and enforced whatever its handler does. */
import { constants } from 'node:http2';
import type { DescMethod } from '@bufbuild/protobuf';
import type { Call } from './call.ts';
import { errorWith } from './errors.ts';
import { EXPIRED_MEANWHILE } from './identity.ts';
import type { PatientClock } from './patient-clock.ts';
import { endWithError } from './response.ts';

export interface DeadlineLimits {
  /** For unary calls that bring no deadline. */
  readonly defaultDeadlineMs: number;
  readonly maxDeadlineMs: number;
  /** For a request to arrive whole; less when defaultDeadlineMs is. */
  readonly requestTimeoutMs: number;
}

/** Told of a call that ended because its request did not arrive within `afterMs`. */
export type OnSlowRequest = (call: Call, afterMs: number) => void;

/**
 * Deadlines this far ahead or more are looked after by a sweep over the running calls, which may be late by as much as it pauses: a timer
 * for every call costs more than the rest of its deadline.
 */
const SWEPT_FROM_MS = 1_000;
const SWEEP_MS = 25;

/** For a call that is over to reach its caller. */
const LAST_WORDS_MS = 500;

const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 0.001, n: 0.000_001 };

/** The caller's deadline in ms, undefined when there is none, or what is wrong with it. */
type Asked = number | undefined | { readonly problem: string };

function asked({ headers, protocol }: Call): Asked {
  const isGrpc = protocol === 'grpc' || protocol === 'grpc-web';
  const name = isGrpc ? 'grpc-timeout' : 'connect-timeout-ms';
  const value = headers[name];
  if (value === undefined) return undefined;
  const text = String(value);
  if (!isGrpc) return /^\d{1,10}$/.test(text) ? Number(text) : { problem: `the header ${name} is malformed` };
  const unitMs = UNIT_MS[text.at(-1) ?? ''];
  const amount = text.slice(0, -1);
  return unitMs !== undefined && /^\d{1,8}$/.test(amount) ? Number(amount) * unitMs : { problem: `the header ${name} is malformed` };
}

/** Its caller does not read what is written, or it would be closed by then. */
function endSoon(call: Call): void {
  clearTimeout(call.timer);
  call.timer = setTimeout(() => call.stream.close(constants.NGHTTP2_CANCEL), LAST_WORDS_MS);
}

function expire(call: Call, what: 'answer' | 'request', afterMs: number, onSlowRequest: OnSlowRequest): void {
  const { stream } = call;
  if (what === 'request' && stream.readableEnded) return;
  if (!stream.readableEnded && call.told === undefined) onSlowRequest(call, afterMs);
  endWithError(call, errorWith('deadline_exceeded', `no ${what} within ${Math.round(afterMs)} ms`));
  endSoon(call);
}

/**
 * Ends the call when its time is up, even if its body never arrives, its handler does not listen or its caller does not read. Returns
 * false when the call is refused for its deadline, and ended.
 */
export function enforceDeadline(call: Call, method: DescMethod, limits: DeadlineLimits, onSlowRequest: OnSlowRequest): boolean {
  const { defaultDeadlineMs, maxDeadlineMs, requestTimeoutMs } = limits;
  const refuse = (problem: string): false => {
    endWithError(call, errorWith('request_malformed', problem));
    return false;
  };
  const wanted = asked(call);
  if (typeof wanted === 'object') return refuse(wanted.problem);
  call.timeoutMs = wanted;
  const timeoutMs = wanted ?? (method.methodKind === 'unary' ? defaultDeadlineMs : undefined);
  if (timeoutMs !== undefined && timeoutMs > maxDeadlineMs) {
    return refuse(`a deadline ${timeoutMs} ms ahead is more than this server allows, ${maxDeadlineMs} ms`);
  }
  if (timeoutMs !== undefined) {
    call.allowedMs = timeoutMs;
    if (timeoutMs < SWEPT_FROM_MS) call.timer = setTimeout(expire, timeoutMs, call, 'answer', timeoutMs, onSlowRequest);
  }
  const requestMs = Math.min(requestTimeoutMs, defaultDeadlineMs);
  // Streams of requests are open for as long as their callers have any. And two limits for one moment would have it tell now this, now that.
  const hasOneRequest = method.methodKind === 'unary' || method.methodKind === 'server_streaming';
  if (hasOneRequest && requestMs < call.allowedMs) call.requestMs = requestMs;
  return true;
}

/** Ends those of the `running` calls whose time is up, or whose credentials' is, until it is stopped. */
export function sweepDeadlines(running: Iterable<Call>, clock: PatientClock, onSlowRequest: OnSlowRequest): { stop(): void } {
  const sweep = (): void => {
    const nowMs = performance.now();
    const patientNowMs = clock.nowMs(nowMs);
    for (const call of running) {
      const { allowedMs, openedMs, patientMs, requestMs } = call;
      if (nowMs >= call.knownUntilMs) {
        call.knownUntilMs = Number.POSITIVE_INFINITY;
        endWithError(call, EXPIRED_MEANWHILE);
        endSoon(call);
      }
      // It may have come, and not been read yet.
      if (patientNowMs - patientMs >= requestMs) {
        call.requestMs = Number.POSITIVE_INFINITY;
        expire(call, 'request', requestMs, onSlowRequest);
      }
      if (allowedMs < SWEPT_FROM_MS || nowMs - openedMs < allowedMs) continue;
      call.allowedMs = Number.POSITIVE_INFINITY;
      expire(call, 'answer', allowedMs, onSlowRequest);
    }
  };
  const timer = setInterval(sweep, SWEEP_MS).unref();
  return { stop: () => clearInterval(timer) };
}
