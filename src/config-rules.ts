/** The rules that values of variables must keep. */
import { EnvError, makeValidator } from 'envalid';

export const integer = (atLeast: number, atMost: number) =>
  makeValidator<number>((input) => {
    const value = Number(input);
    if (!Number.isInteger(value) || value < atLeast || value > atMost) {
      throw new EnvError(`must be a whole number from ${atLeast} to ${atMost}`);
    }
    return value;
  });

function postgresUrlOf(input: string): string {
  if (!/^postgres(ql)?:\/\/\S+$/.test(input)) throw new EnvError('must look like postgresql://user:password@host:5432/database');
  return input;
}

export const postgresUrl = makeValidator<string>(postgresUrlOf);
export const optionalPostgresUrl = makeValidator<string>((input) => (input === '' ? '' : postgresUrlOf(input)));

export const listOf = (input: string): readonly string[] =>
  input
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');

export const addressList = makeValidator<readonly string[]>(listOf);

export const serverList = makeValidator<readonly { readonly host: string; readonly port: number }[]>((input) =>
  listOf(input).map((part) => {
    const [, host, portText] = /^([^\s;/@]+):(\d{1,5})$/.exec(part) ?? [];
    if (host === undefined || Number(portText) < 1 || Number(portText) > 65_535) throw new EnvError('must look like host:6379,host:6380');
    return { host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(portText) };
  }),
);

function httpUrlOf(input: string): string {
  if (!/^https?:\/\/[^\s/?#@]+(?:\/[^\s?#]*)?$/.test(input)) throw new EnvError('must look like https://host or https://host/path');
  return input.replace(/\/+$/, '');
}

export const httpUrl = makeValidator<string>(httpUrlOf);
export const optionalHttpUrl = makeValidator<string>((input) => (input === '' ? '' : httpUrlOf(input)));

export const secret = (atLeastChars: number) =>
  makeValidator<string>((input) => {
    if (input !== '' && input.length < atLeastChars) throw new EnvError(`must have at least ${atLeastChars} characters`);
    return input;
  });

export const ratio = makeValidator<number>((input) => {
  const value = Number(input);
  if (input.trim() === '' || !(value >= 0 && value <= 1)) throw new EnvError('must be from 0 to 1');
  return value;
});

export const textList = makeValidator<readonly string[]>(listOf);

/** Those with a public key to check by; a shared secret would let whoever can check tokens make them. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'];

export const algorithmList = makeValidator<readonly string[]>((input) => {
  const names = listOf(input);
  if (names.length === 0 || !names.every((name) => ALGORITHMS.includes(name)))
    throw new EnvError(`must be some of ${ALGORITHMS.join(', ')}`);
  return names;
});

export const keysUrl = makeValidator<string>((input) => {
  const url = URL.canParse(input) ? new URL(input) : undefined;
  const isLocal = ['localhost', '127.0.0.1', '[::1]'].includes(url?.hostname ?? '');
  // Whoever can change the keys on their way can be anybody.
  const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && isLocal);
  if (input !== '' && (!isSafe || url?.username !== '')) throw new EnvError('must look like https://host/path');
  return input;
});

/** `billing@SendMessage=50/1`: calls in seconds; names may hold @ and =. */
export const rateList = makeValidator<
  readonly { readonly caller: string; readonly method: string; readonly calls: number; readonly seconds: number }[]
>((input) =>
  listOf(input).map((part) => {
    const [, caller = '*', method, calls, seconds] = /^(?:(\S+)@)?(\*|[A-Za-z]+)=(\d{1,9})\/(\d{1,5})$/.exec(part) ?? [];
    if (method === undefined || Number(calls) < 1 || Number(seconds) < 1)
      throw new EnvError('must look like SendMessage=50/1,billing@*=1000/60');
    return { caller, method, calls: Number(calls), seconds: Number(seconds) };
  }),
);

const ROLES = ['caller', 'gateway', 'operator'] as const;

export const roleList = makeValidator<readonly { readonly name: string; readonly role: (typeof ROLES)[number] }[]>((input) =>
  listOf(input).map((part) => {
    const at = part.lastIndexOf('=');
    const role = ROLES.find((known) => known === part.slice(at + 1));
    if (at < 1 || role === undefined) throw new EnvError(`must look like billing=caller,ops=operator, with the roles ${ROLES.join(', ')}`);
    return { name: part.slice(0, at), role };
  }),
);
