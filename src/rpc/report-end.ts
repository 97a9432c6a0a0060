/** What metrics and traces learn of a call when its stream has closed, also when no handler ever saw it. */
import { Code } from '@connectrpc/connect';
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

export function reportEnd({ endpoint, protocol, span, told, openedMs }: Call): void {
  // A caller that was told nothing has gone away before.
  const outcome = told ?? Code.Canceled;
  const code = codeName(outcome);
  endpoint.counts.handled(systemOf(protocol), code, (performance.now() - openedMs) / 1_000, span.sampled);
  span.end(code, outcome !== 'OK' && SERVER_ERRORS.has(outcome));
}
