/** What `make run` prints once the service answers. */
import type { RunAddress } from './run-lock.ts';

export interface Welcome extends RunAddress {
  readonly tls: boolean;
}

export function printWelcome({ grpc, http, simulator, tls }: Welcome): void {
  const method = 'messaging.v1.MessageService/ListMessages';
  const request = `-d '{"page_size": 5}'`;
  // A certificate for development is rarely one that the machine trusts.
  const grpcurl = tls ? '-insecure' : '-plaintext';
  const buf = tls ? '--insecure' : '--http2-prior-knowledge';
  console.log(`
  gRPC     ${grpc}${tls ? '  (TLS)' : ''}
  health   http://${http}/readyz
  metrics  http://${http}/metrics
${simulator === undefined ? '' : `  provider ${simulator}/simulator  (simulated: messages reach nobody)\n`}
  Try it, in another terminal:
    grpcurl ${grpcurl} ${request} ${grpc} ${method}
    node_modules/.bin/buf curl --protocol grpc ${buf} ${request} ${tls ? 'https' : 'http'}://${grpc}/${method}
    make demo

  Ctrl-C stops everything; the data stay until \`make clean\`.
`);
}
