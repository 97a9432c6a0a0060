/** The receiving end of webhooks: a real HTTP server that keeps what it was sent and answers as it is told. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface RecordedRequest {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Cut: the connection ends without an answer. */
export type RecorderAnswer = number | 'cut' | Promise<number>;

export interface WebhookRecorder extends AsyncDisposable {
  readonly url: string;
  /** In order of arrival. */
  readonly requests: readonly RecordedRequest[];
  /** Most requests that were open at one time. */
  readonly mostOpen: number;
  answerWith(answer: (request: RecordedRequest, index: number) => RecorderAnswer): void;
}

/** Answers 200 with empty TwiML until it is told otherwise. */
export async function startWebhookRecorder(): Promise<WebhookRecorder> {
  const requests: RecordedRequest[] = [];
  let answerOf: (request: RecordedRequest, index: number) => RecorderAnswer = () => 200;
  let open = 0;
  let mostOpen = 0;
  const server = createServer(async (incoming, response) => {
    open += 1;
    mostOpen = Math.max(mostOpen, open);
    const body = Buffer.concat(await Array.fromAsync(incoming as AsyncIterable<Buffer>));
    const request = { path: incoming.url ?? '', headers: incoming.headers, body };
    const answer = await answerOf(request, requests.push(request) - 1);
    open -= 1;
    if (answer === 'cut') incoming.socket.destroy();
    else response.writeHead(answer, { 'content-type': 'text/xml' }).end('<Response/>');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    get mostOpen() {
      return mostOpen;
    },
    answerWith(answer) {
      answerOf = answer;
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
