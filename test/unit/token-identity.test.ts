/** Which tokens are believed: signed by real keys, checked at a time that the test chooses. */
import { generateKeyPairSync } from 'node:crypto';
import { ConnectError } from '@connectrpc/connect';
import { exportSPKI, importJWK, SignJWT, UnsecuredJWT } from 'jose';
import { beforeEach, describe, expect, it } from 'vitest';
import { ErrorInfoSchema } from '../../gen/google/rpc/error_details_pb.js';
import { createTokenIdentities, type TokenIdentities, type TokenOptions } from '../../src/rpc/token-identity.ts';
import { createTokenKeys, fetchKeys } from '../../src/rpc/token-keys.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createIssuer, type Issuer, startKeyServer } from '../support/token-issuer.ts';

const START_SECONDS = 1_800_000_000;
const log = createLog({ level: 'silent' });

let nowSeconds: number;
let issuer: Issuer;

beforeEach(async () => {
  nowSeconds = START_SECONDS;
  issuer = await createIssuer(() => nowSeconds);
});

const later = (seconds: number) => {
  nowSeconds += seconds;
};

type Load = () => Promise<unknown> | unknown;

function believer(options: Partial<TokenOptions> = {}, load: Load = () => issuer.keys()): TokenIdentities {
  const unixNowMs = () => nowSeconds * 1_000;
  const keys = createTokenKeys({
    load: async (signal) => load === undefined || signal.aborted || load(),
    nowMs: unixNowMs,
    log,
    onChange: () => tokens.forget(),
  });
  const tokens = createTokenIdentities(
    {
      issuers: [issuer.name],
      audiences: [issuer.audience],
      algorithms: ['ES256', 'RS256'],
      callerClaim: 'sub',
      rolesClaim: 'roles',
      toleranceMs: 10_000,
      ...options,
    },
    { keys, unixNowMs, log },
  );
  return tokens;
}

/** The name and roles of the caller, or what is wrong with the token. */
async function verdict(tokens: TokenIdentities, token: string): Promise<string> {
  const found = await tokens.of(`Bearer ${token}`);
  if (!(found instanceof ConnectError)) return `${found.name}: ${[...found.roles].join(' ')}`;
  const [info] = found.findDetails(ErrorInfoSchema);
  for (const part of token.split('.')) if (part.length > 10) expect(found.message).not.toContain(part);
  return `${info?.reason} ${info?.metadata['problem'] ?? ''}`.trim();
}

const refused = (problem: string) => `CREDENTIALS_INVALID ${problem}`;

describe('a token', () => {
  it('names the caller and its roles', async () => {
    expect(await verdict(believer(), await issuer.token())).toBe('billing: caller');
  });

  it.each([
    ['a list', { roles: ['caller', 'operator', 'emperor', 7] }, 'billing: caller operator'],
    ['words', { roles: 'gateway caller' }, 'billing: gateway caller'],
    ['no claim', { roles: undefined }, 'billing: '],
    ['something else', { roles: { caller: true } }, 'billing: '],
  ])('has its roles from %s', async (_, claims, expected) => {
    expect(await verdict(believer(), await issuer.token(claims))).toBe(expected);
  });

  it('has name and roles from other claims when it is told so, also within others or with dots in their names', async () => {
    const token = await issuer.token({ azp: 'shop', realm_access: { roles: ['operator'] }, 'https://x.test/roles': ['gateway'] });
    expect(await verdict(believer({ callerClaim: 'azp', rolesClaim: 'realm_access.roles' }), token)).toBe('shop: operator');
    expect(await verdict(believer({ rolesClaim: 'https://x.test/roles' }), token)).toBe('billing: gateway');
    expect(await verdict(believer({ rolesClaim: 'realm_access.constructor.name' }), token)).toBe('billing: ');
  });

  it.each([
    ['has expired', { exp: START_SECONDS - 11 }, 'token_expired'],
    ['does not expire', { exp: undefined }, 'token_claims'],
    ['is not valid yet', { nbf: START_SECONDS + 11 }, 'token_not_yet_valid'],
    ['is for somebody else', { aud: 'billing' }, 'token_audience'],
    ['is for nobody', { aud: undefined }, 'token_audience'],
    ['is from somebody else', { iss: 'https://issuer.test.evil' }, 'token_issuer'],
    ['is from nobody', { iss: undefined }, 'token_issuer'],
    ['names nobody', { sub: undefined }, 'token_claims'],
    ['has an empty name', { sub: '' }, 'token_claims'],
    ['has a name that cannot be logged', { sub: 'billing\nroot' }, 'token_claims'],
    ['has a name without end', { sub: 'x'.repeat(201) }, 'token_claims'],
    ['has a name that is no text', { sub: 42 }, 'token_claims'],
  ])('that %s is refused', async (_, claims, problem) => {
    expect(await verdict(believer(), await issuer.token(claims))).toBe(refused(problem));
  });

  it('may be off by the tolerance, and no more', async () => {
    const tokens = believer();
    expect(await verdict(tokens, await issuer.token({ exp: START_SECONDS - 9 }))).toBe('billing: caller');
    expect(await verdict(tokens, await issuer.token({ nbf: START_SECONDS + 9 }))).toBe('billing: caller');
  });

  it.each(['', 'x', 'a.b.c', '....', 'Bearer', 'ey'.repeat(5_000)])('that is none is refused: %j', async (token) => {
    expect(await verdict(believer(), token)).toBe(refused('token_malformed'));
  });

  it('is looked for in the scheme Bearer alone, in any case', async () => {
    const token = await issuer.token();
    const tokens = believer();
    expect(await tokens.of(`bEARER ${token}`)).toMatchObject({ name: 'billing' });
    for (const header of [token, `Basic ${token}`, `Bearer${token}`, ''])
      expect((await tokens.of(header)) instanceof ConnectError, header.slice(0, 10)).toBe(true);
  });
});

describe('a forged token is refused', () => {
  const claims = () => ({ iss: issuer.name, aud: issuer.audience, sub: 'billing', roles: ['operator'], exp: nowSeconds + 60 });

  it('without a signature', async () => {
    const tokens = believer();
    expect(await verdict(tokens, new UnsecuredJWT(claims()).encode())).toMatch(/token_(algorithm|malformed)/);
    const [header, payload] = (await issuer.token()).split('.');
    expect(await verdict(tokens, `${header}.${payload}.`)).toBe(refused('token_signature'));
  });

  it('signed with the public key as a shared secret (HS256)', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
    const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'rsa' };
    const tokens = believer({}, () => ({ keys: [jwk] }));
    const honest = await new SignJWT(claims()).setProtectedHeader({ alg: 'RS256', kid: 'rsa' }).sign(privateKey);
    expect(await verdict(tokens, honest)).toBe('billing: operator');
    const secrets = [await exportSPKI(publicKey as never), JSON.stringify(jwk), jwk.n ?? ''];
    for (const secret of secrets) {
      const forged = await new SignJWT(claims()).setProtectedHeader({ alg: 'HS256', kid: 'rsa' }).sign(Buffer.from(secret));
      expect(await verdict(tokens, forged)).toBe(refused('token_algorithm'));
    }
  });

  it('signed with a shared secret that is published by mistake', async () => {
    const secret = { kty: 'oct', k: Buffer.alloc(32, 7).toString('base64url'), kid: 'shared', alg: 'HS256' };
    const tokens = believer({}, () => ({ keys: [secret, ...issuer.keys().keys] }));
    const forged = await new SignJWT(claims()).setProtectedHeader({ alg: 'HS256', kid: 'shared' }).sign(Buffer.alloc(32, 7));
    expect(await verdict(tokens, forged)).toBe(refused('token_algorithm'));
  });

  it('signed with an asymmetric algorithm that is not allowed, although its key is published', async () => {
    const other = await createIssuer(() => nowSeconds, 'ES384');
    expect(
      await verdict(
        believer({}, () => other.keys()),
        await other.token(),
      ),
    ).toBe(refused('token_algorithm'));
  });

  it('signed with a key of its own under a known name, or with one that it brings along', async () => {
    const thief = await createIssuer(() => nowSeconds);
    const tokens = believer();
    expect(await verdict(tokens, await thief.token())).toBe(refused('token_signature'));
    const [jwk] = thief.keys().keys;
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const brought = await new SignJWT(claims()).setProtectedHeader({ alg: 'ES256', kid: 'key-1', jwk: jwk ?? {} }).sign(privateKey);
    expect(await verdict(tokens, brought)).toBe(refused('token_signature'));
  });

  it('with another payload under an honest signature', async () => {
    const [header, , signature] = (await issuer.token()).split('.');
    const payload = Buffer.from(JSON.stringify(claims())).toString('base64url');
    expect(await verdict(believer(), `${header}.${payload}.${signature}`)).toBe(refused('token_signature'));
  });

  it('with a key name that nobody published, or none where there are several', async () => {
    const tokens = believer();
    expect(await verdict(tokens, await issuer.token({}, { kid: 'nobody' }))).toBe(refused('token_key_unknown'));
    await issuer.rotate({ keep: true });
    const [, second] = issuer.keys().keys;
    expect(await importJWK(second ?? {})).toBeDefined();
    expect(await verdict(believer(), await issuer.token({}, { kid: undefined }))).toBe(refused('token_key_unknown'));
  });
});

describe('a token that is known', () => {
  it('is answered for at once, without another check, until it expires', async () => {
    const tokens = believer();
    const header = `Bearer ${await issuer.token({ exp: START_SECONDS + 60 })}`;
    expect(tokens.of(header)).toBeInstanceOf(Promise);
    const identity = await tokens.of(header);
    later(69);
    expect(tokens.of(header)).toBe(identity);
    later(1);
    expect(tokens.of(header)).toBeInstanceOf(ConnectError);
    expect(await verdict(tokens, header.slice(7))).toBe(refused('token_expired'));
  });

  it('is checked once for all calls that bring it meanwhile', async () => {
    const tokens = believer();
    const header = `Bearer ${await issuer.token()}`;
    expect(tokens.of(header)).toBe(tokens.of(header));
  });

  it('is not believed any more when its key is taken back', async () => {
    const tokens = believer();
    const token = await issuer.token();
    expect(await verdict(tokens, token)).toBe('billing: caller');
    await issuer.rotate();
    later(301);
    // The first one has the keys fetched.
    await verdict(tokens, await issuer.token());
    expect(await verdict(tokens, token)).toBe(refused('token_key_unknown'));
  });
});

describe('the keys', () => {
  it('are fetched again for a new one, at most every ten seconds', async () => {
    await using server = await startKeyServer(() => issuer.keys());
    const tokens = believer({}, () => fetchKeys(server.url, AbortSignal.timeout(5_000)));
    expect(await verdict(tokens, await issuer.token())).toBe('billing: caller');
    await issuer.rotate({ keep: true });
    expect(await verdict(tokens, await issuer.token())).toBe(refused('token_key_unknown'));
    later(10);
    expect(await verdict(tokens, await issuer.token({ sub: 'shop' }))).toBe('shop: caller');
    for (let index = 0; index < 20; index += 1)
      await verdict(tokens, await issuer.token({ jti: String(index) }, { kid: `guess-${index}` }));
    expect(server.requests()).toBe(2);
  });

  it('are kept while their server is away, for a day', async () => {
    await using server = await startKeyServer(() => issuer.keys());
    const tokens = believer({}, () => fetchKeys(server.url, AbortSignal.timeout(5_000)));
    expect(await verdict(tokens, await issuer.token())).toBe('billing: caller');
    await server.stop();
    later(86_000);
    expect(await verdict(tokens, await issuer.token())).toBe('billing: caller');
    later(1_000);
    expect(await verdict(tokens, await issuer.token())).toBe('IDENTITY_UNAVAILABLE');
    await server.start();
    later(10);
    expect(await verdict(tokens, await issuer.token())).toBe('billing: caller');
  });

  it('that never came are nobody’s fault but ours, and neither is a new one that cannot be asked for', async () => {
    await using server = await startKeyServer(() => issuer.keys());
    await server.stop();
    const tokens = believer({}, () => fetchKeys(server.url, AbortSignal.timeout(5_000)));
    expect(await verdict(tokens, await issuer.token())).toBe('IDENTITY_UNAVAILABLE');
    await server.start();
    expect(await verdict(tokens, await issuer.token())).toBe('IDENTITY_UNAVAILABLE');
    later(10);
    expect(await verdict(tokens, await issuer.token())).toBe('billing: caller');
    await server.stop();
    await issuer.rotate();
    later(10);
    expect(await verdict(tokens, await issuer.token())).toBe('IDENTITY_UNAVAILABLE');
  });

  it.each([
    ['an error', 500],
    ['no keys', {}],
    ['nonsense', { keys: 'none' }],
  ])('that are answered with %s leave those that are known in force', async (_, answer) => {
    let said: object | number = issuer.keys();
    await using server = await startKeyServer(() => said);
    const tokens = believer({}, () => fetchKeys(server.url, AbortSignal.timeout(5_000)));
    expect(await verdict(tokens, await issuer.token())).toBe('billing: caller');
    said = answer;
    later(400);
    expect(await verdict(tokens, await issuer.token())).toBe('billing: caller');
    later(400);
    expect(await verdict(tokens, await issuer.token())).toBe('billing: caller');
    expect(server.requests()).toBeGreaterThan(1);
  });
});
