import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { DescMethod } from '@bufbuild/protobuf';
import { Code } from '@connectrpc/connect';
import type { Metrics } from '../telemetry/metrics.ts';
import { startServerSpan } from '../telemetry/trace.ts';
import { type CallInfo, codeName, openCall } from './call.ts';
import { protocolOf } from './wire-status.ts';

const STREAM_TYPE = {
  unary: 'unary',
  server_streaming: 'server_stream',
  client_streaming: 'client_stream',
  bidi_streaming: 'bidi_stream',
} as const satisfies Record<DescMethod['methodKind'], string>;

/** Codes that say something about this server rather than about the call. */
const SERVER_ERRORS: ReadonlySet<Code> = new Set([
  Code.Unknown,
  Code.DeadlineExceeded,
  Code.Unimplemented,
  Code.Internal,
  Code.Unavailable,
  Code.DataLoss,
]);

/** A method that does not exist must not become a label of its own. */
const OTHER = '_OTHER';

/**
 * Counts, times and traces one HTTP/2 stream from its headers to its end, also when no handler ever sees it, and runs `handle`
 * inside its span.
 */
export function observeCall(
  request: Http2ServerRequest,
  response: Http2ServerResponse,
  method: DescMethod | undefined,
  metrics: Metrics,
  handle: (call: CallInfo) => void,
): void {
  const started = performance.now();
  const service = method?.parent.typeName ?? OTHER;
  const name = method?.name ?? OTHER;
  const call = openCall(request, method === undefined ? undefined : `${service}/${name}`);
  const system = protocolOf(request.headers['content-type']).startsWith('grpc') ? 'grpc' : 'connectrpc';
  const span = startServerSpan({ headers: request.headers, system, method: call.method ?? OTHER });
  const type = method === undefined ? 'unary' : STREAM_TYPE[method.methodKind];
  metrics.rpcStarted({ service, method: name, type });
  response.once('close', () => {
    // A caller that was told nothing has gone away before.
    const outcome = call.told ?? Code.Canceled;
    const code = codeName(outcome);
    const seconds = (performance.now() - started) / 1_000;
    metrics.rpcHandled({ service, method: name, type, system, code, seconds, trace: span.sampled });
    span.end(code, outcome !== 'OK' && SERVER_ERRORS.has(outcome));
  });
  span.run(() => handle(call));
}
