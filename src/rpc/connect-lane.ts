/** The lane for everything: from an HTTP/2 stream through Connect to the handler of its method, and back. */
import { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { DescMessage } from '@bufbuild/protobuf';
import { Code, type ConnectError, createContextValues } from '@connectrpc/connect';
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from '@connectrpc/connect-node';
import type { Log } from '../telemetry/log.ts';
import { type Ending, withEnding } from './answer.ts';
import { type Call, callKey } from './call.ts';
import { errorWith, transportError } from './errors.ts';
import { endWithError, stopReading } from './response.ts';

function endingOf(call: Call, rpc: string, input: DescMessage, log: Log): Ending {
  const mend = (error: ConnectError): ConnectError => {
    // What a handler decided on has been given its details already; see CallSteps.failureOf.
    if (error.details.length > 0 || (call.code !== undefined && call.code !== 'OK')) return error;
    if (call.code === 'OK' && error.code !== Code.ResourceExhausted) {
      log.error({ rpc, err: error }, 'an answer could not be written by a bug');
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

/** Answers the call; never throws. `call.told` is set when its status is written. `body`: what the lean lane has read of it before. */
export async function answerByConnect(call: Call, log: Log, body?: AsyncIterable<Uint8Array>): Promise<void> {
  const { stream, endpoint } = call;
  const { handler, name: rpc } = endpoint;
  if (handler === undefined) throw new Error(`nothing handles ${rpc}`);
  const request = new Http2ServerRequest(stream, call.headers, {}, call.rawHeaders);
  const response = new Http2ServerResponse(stream);
  call.response = response;
  // Trailers are the last that is written.
  stream.once('wantTrailers', () => setImmediate(stopReading, stream));
  try {
    const universal = universalRequestFromNodeRequest(request, response, undefined, createContextValues().set(callKey, call));
    const answer = await handler(body === undefined ? universal : { ...universal, body });
    const ended = await withEnding(answer, call.protocol, endingOf(call, rpc, handler.method.input, log));
    await universalResponseToNodeResponse(ended, response);
  } catch (error) {
    // The caller went away, or was told before that its time is up.
    if (call.told !== undefined || stream.destroyed) return;
    const unread = call.code === undefined;
    log.warn({ rpc, err: error }, unread ? 'a request could not be taken' : 'an answer could not be written');
    endWithError(call, unread ? errorWith('request_malformed', 'cannot be decoded') : errorWith('internal', 'internal error'));
  }
}
