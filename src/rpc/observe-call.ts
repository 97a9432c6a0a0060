/** What metrics and traces learn of a call when its stream has closed, also when no handler ever saw it. */
import { Code } from '@connectrpc/connect';
import type { RpcCounts } from '../telemetry/metrics.ts';
import { type Call, codeName, systemOf } from './call.ts';

/** Codes that say something about this server rather than about the call. */
const SERVER_ERRORS: ReadonlySet<Code> = new Set([
  Code.Unknown,
  Code.DeadlineExceeded,
  Code.Unimplemented,
  Code.Internal,
  Code.Unavailable,
  Code.DataLoss,
]);

export function reportEnd(call: Call, counts: RpcCounts): void {
  const { span, told, openedMs } = call;
  // A caller that was told nothing has gone away before.
  const outcome = told ?? Code.Canceled;
  const code = codeName(outcome);
  counts.handled(systemOf(call.protocol), code, (performance.now() - openedMs) / 1_000, span.sampled);
  span.end(code, outcome !== 'OK' && SERVER_ERRORS.has(outcome));
}
