/** From an HTTP/2 request to the handler of its method, and back. */
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { DescMessage } from '@bufbuild/protobuf';
import { Code, type ConnectError, createContextValues } from '@connectrpc/connect';
import type { UniversalHandler } from '@connectrpc/connect/protocol';
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from '@connectrpc/connect-node';
import type { Log } from '../telemetry/log.ts';
import { type Ending, withEnding } from './answer.ts';
import { type CallInfo, callKey } from './call.ts';
import { errorWith, transportError } from './errors.ts';
import { endWithError, stopReading } from './response.ts';
import { protocolOf } from './wire-status.ts';

function endingOf(call: CallInfo, input: DescMessage, log: Log): Ending {
  const mend = (error: ConnectError): ConnectError => {
    // What a handler decided on has been given its details already; see errorInterceptor.
    if (error.details.length > 0 || (call.code !== undefined && call.code !== 'OK')) return error;
    if (call.code === 'OK' && error.code !== Code.ResourceExhausted) {
      log.error({ rpc: call.method, err: error }, 'an answer could not be written by a bug');
      return errorWith('internal', 'internal error');
    }
    return transportError(error.code, error.rawMessage, input) ?? error;
  };
  return {
    settle(error) {
      const mended = error && mend(error);
      call.told ??= mended?.code ?? 'OK';
      return mended;
    },
    settleUnseen() {
      call.told ??= call.code ?? Code.Unknown;
    },
  };
}

/** Answers the call; never throws. The status is set in `call` when it is written. */
export async function answerCall(
  handler: UniversalHandler,
  request: Http2ServerRequest,
  response: Http2ServerResponse,
  call: CallInfo,
  log: Log,
): Promise<void> {
  // Trailers are the last that is written.
  response.stream.once('wantTrailers', () => setImmediate(() => stopReading(request, response)));
  try {
    const universal = universalRequestFromNodeRequest(request, response, undefined, createContextValues().set(callKey, call));
    const answer = await handler(universal);
    const ended = await withEnding(answer, protocolOf(request.headers['content-type']), endingOf(call, handler.method.input, log));
    await universalResponseToNodeResponse(ended, response);
  } catch (error) {
    // The caller went away, or was told before that its time is up.
    if (call.told !== undefined || response.stream.destroyed) return;
    const unread = call.code === undefined;
    log.warn({ rpc: call.method, err: error }, unread ? 'a request could not be taken' : 'an answer could not be written');
    endWithError(request, response, unread ? errorWith('request_malformed', 'cannot be decoded') : errorWith('internal', 'internal error'));
  }
}
