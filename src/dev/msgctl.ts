/** `make msgctl`: msgctl against `make run`, when it runs and nothing else is named, as the operator of its certificates if it asks for some. */
import { join } from 'node:path';
import { CERTS_FOLDER } from './certs-folder.ts';
import { findRun } from './run-lock.ts';

const { env } = process;
const address = env['MSGCTL_ADDRESS'] === undefined ? (await findRun())?.address : undefined;
if (address !== undefined) {
  env['MSGCTL_ADDRESS'] = address.grpc;
  if (address.certs) {
    env['MSGCTL_CA_FILE'] ??= join(CERTS_FOLDER, 'ca.pem');
    env['MSGCTL_CERT_FILE'] ??= join(CERTS_FOLDER, 'operator.pem');
    env['MSGCTL_KEY_FILE'] ??= join(CERTS_FOLDER, 'operator-key.pem');
  }
}
await import('../msgctl/msgctl.ts');
