/** What msgctl itself reads of the environment; `config check` reads the service's. */
import type { Options } from './arguments.ts';

const variables = {
  address: 'MSGCTL_ADDRESS',
  ca: 'MSGCTL_CA_FILE',
  cert: 'MSGCTL_CERT_FILE',
  key: 'MSGCTL_KEY_FILE',
  'token-file': 'MSGCTL_TOKEN_FILE',
} as const;

/** Options of every command that calls the service. */
export const connectionOptions: Options = {
  address: { value: 'HOST:PORT', about: `the service; else ${variables.address}, else localhost:50051` },
  tls: { about: 'speak TLS and trust the authorities of the system' },
  ca: { value: 'FILE', about: `speak TLS and trust this authority (PEM); else ${variables.ca}` },
  cert: { value: 'FILE', about: `certificate of the caller (PEM), with --key; else ${variables.cert}` },
  key: { value: 'FILE', about: `its private key (PEM); else ${variables.key}` },
  'token-file': { value: 'FILE', about: `file that holds a bearer token; else ${variables['token-file']}` },
  'timeout-ms': { value: 'N', about: 'longest wait for an answer; 5000' },
};

/** undefined: neither set nor empty. */
export function fromEnvironment(option: keyof typeof variables): string | undefined {
  return process.env[variables[option]] || undefined;
}
