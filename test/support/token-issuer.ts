/** An issuer of tokens with keys that change, and a real server that publishes them. */

import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose';

export interface Issuer {
  readonly name: string;
  readonly audience: string;
  /** What is published. */
  keys(): { readonly keys: readonly JWK[] };
  /** Signs with a new key from now on. Unless `keep`, the earlier ones are published no more. */
  rotate(options?: { readonly keep?: boolean }): Promise<void>;
  /** Good for 10 minutes from `at`, in seconds, unless the claims say otherwise; `undefined` leaves a claim out. */
  token(claims?: Readonly<Record<string, unknown>>, header?: { readonly kid?: string | undefined }): Promise<string>;
}

interface Key {
  readonly kid: string;
  readonly jwk: JWK;
  readonly privateKey: Parameters<SignJWT['sign']>[0];
}

export async function createIssuer(nowSeconds: () => number = () => Date.now() / 1_000, algorithm = 'ES256'): Promise<Issuer> {
  let made = 0;
  const makeKey = async (): Promise<Key> => {
    const { publicKey, privateKey } = await generateKeyPair(algorithm);
    made += 1;
    const kid = `key-${made}`;
    return { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: algorithm, use: 'sig' } };
  };
  let published = [await makeKey()];
  const [name, audience] = ['https://issuer.test', 'messaging'];
  return {
    name,
    audience,
    keys: () => ({ keys: published.map(({ jwk }) => jwk) }),
    async rotate({ keep = false } = {}) {
      published = [await makeKey(), ...(keep ? published : [])];
    },
    async token(claims = {}, header = {}) {
      const kid = 'kid' in header ? header.kid : published[0]?.kid;
      const [key] = published;
      if (key === undefined) throw new Error('unreachable: there is always a key');
      const now = Math.floor(nowSeconds());
      const all = { iss: name, aud: audience, sub: 'billing', roles: ['caller'], exp: now + 600, ...claims };
      const payload: JWTPayload = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
      return new SignJWT(payload).setProtectedHeader({ alg: algorithm, ...(kid === undefined ? {} : { kid }) }).sign(key.privateKey);
    },
  };
}

export interface KeyServer extends AsyncDisposable {
  readonly url: string;
  /** How often it was asked. */
  requests(): number;
  /** Refuses connections from now on. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** `answer`: what it says; a number is an HTTP status without a body. */
export async function startKeyServer(answer: () => object | number): Promise<KeyServer> {
  let requests = 0;
  const port = await freePort();
  const launch = async () => {
    const server = createHttpServer((_, response) => {
      requests += 1;
      const said = answer();
      if (typeof said === 'number') response.writeHead(said).end();
      else response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(said));
    }).listen(port, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    return server;
  };
  let server: Awaited<ReturnType<typeof launch>> | undefined = await launch();
  const stop = async () => {
    const stopping = server;
    server = undefined;
    stopping?.closeAllConnections();
    await new Promise((resolve) => (stopping === undefined ? resolve(undefined) : stopping.close(resolve)));
  };
  return {
    url: `http://127.0.0.1:${port}/jwks.json`,
    requests: () => requests,
    stop,
    async start() {
      server ??= await launch();
    },
    [Symbol.asyncDispose]: stop,
  };
}
