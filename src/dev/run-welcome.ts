/** What `make run` prints once the service answers. */
import { CERTS_FOLDER } from './certs-folder.ts';
import type { RunAddress } from './run-lock.ts';

export interface Welcome extends RunAddress {
  readonly tls: boolean;
  readonly statusToken: string;
}

const CA = `${CERTS_FOLDER}/ca.pem`;
const CALLER = `${CERTS_FOLDER}/caller`;

export function printWelcome({ grpc, http, simulator, tls, certs = false, statusToken }: Welcome): void {
  const method = 'messaging.v1.MessageService/ListMessages';
  const request = `-d '{"page_size": 5}'`;
  // A certificate for development is rarely one that the machine trusts.
  const grpcurl = certs ? `-cacert ${CA} -cert ${CALLER}.pem -key ${CALLER}-key.pem` : tls ? '-insecure' : '-plaintext';
  const buf = certs ? `--cacert ${CA} --cert ${CALLER}.pem --key ${CALLER}-key.pem` : tls ? '--insecure' : '--http2-prior-knowledge';
  console.log(`
  gRPC     ${grpc}${certs ? '  (TLS, for clients with a certificate)' : tls ? '  (TLS)' : ''}
  health   http://${http}/readyz
  metrics  http://${http}/metrics
  status   http://operator:${encodeURIComponent(statusToken)}@${http}/status
${simulator === undefined ? '' : `  provider ${simulator}/simulator  (simulated: messages reach nobody)\n`}
  Try it, in another terminal:
    grpcurl ${grpcurl} ${request} ${grpc} ${method}
    node_modules/.bin/buf curl --protocol grpc ${buf} ${request} ${tls ? 'https' : 'http'}://${grpc}/${method}
    make demo

  Ctrl-C stops everything; the data stay until \`make clean\`.
`);
}
