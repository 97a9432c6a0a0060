/** Which configurations of identity are accepted: never one in which it is not said who may call. */
import { describe, expect, it } from 'vitest';
import { ConfigError, readConfig, readMigrationConfig } from '../../src/config.ts';

const database = { DATABASE_URL: 'postgresql://app:hunter2@db:5432/messaging' };
const tls = { TLS_CERT_FILE: 'server.pem', TLS_KEY_FILE: 'server-key.pem' };
const certificates = { ...tls, TLS_CLIENT_CA_FILE: 'ca.pem' };
const tokens = { AUTH_JWKS_URL: 'https://issuer.test/jwks', AUTH_JWT_ISSUERS: 'https://issuer.test', AUTH_JWT_AUDIENCES: 'messaging' };

type Settings = Readonly<Record<string, string>>;

const config = (settings: Settings) => readConfig({ ...database, ...settings });

function refusal(settings: Settings): string {
  try {
    config(settings);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error('was accepted');
}

describe('a configuration that does not say who may call', () => {
  it('is refused with what to do', () => {
    for (const settings of [{}, tls, { AUTH_MODE: 'on' }, { PROCESS_ROLE: 'server' }, { AUTH_MODE: '' }]) {
      expect(refusal(settings)).toMatch(/AUTH_MODE: nothing says who may call\. Set TLS_CLIENT_CA_FILE .* AUTH_JWKS_URL .* AUTH_MODE=off/);
    }
  });

  it('is good for what nobody calls: a worker, and migrations', () => {
    expect(config({ PROCESS_ROLE: 'worker' }).role).toBe('worker');
    expect(readMigrationConfig({ ...database, AUTH_MODE: 'perhaps' }).url).toBe(database.DATABASE_URL);
    const owner = 'postgresql://owner@db/messaging';
    expect(readMigrationConfig({ ...database, DATABASE_MIGRATE_URL: owner }).url).toBe(owner);
    expect(config({ AUTH_MODE: 'off', DATABASE_MIGRATE_URL: owner })).toMatchObject({
      database: { url: database.DATABASE_URL },
      migrationUrl: owner,
    });
  });

  it('is accepted when authentication is switched off by name, and only then', () => {
    expect(config({ AUTH_MODE: 'off' }).auth).toBeUndefined();
    for (const mode of ['Off', 'false', '0', 'none']) expect(refusal({ AUTH_MODE: mode })).toContain('  AUTH_MODE: ');
  });
});

describe('a configuration of identity', () => {
  it('may be of certificates', () => {
    const { auth, grpc } = config({
      ...certificates,
      AUTH_CERT_ROLES: 'billing=caller, ops=operator,ops=caller,spiffe://corp/a=b=gateway,*=caller',
    });
    expect(grpc.tls).toEqual({ certFile: 'server.pem', keyFile: 'server-key.pem', clientCaFile: 'ca.pem' });
    expect(auth?.tokens).toBeUndefined();
    expect(auth?.certificates?.roles).toEqual([
      { name: 'billing', role: 'caller' },
      { name: 'ops', role: 'operator' },
      { name: 'ops', role: 'caller' },
      { name: 'spiffe://corp/a=b', role: 'gateway' },
      { name: '*', role: 'caller' },
    ]);
  });

  it('may be of tokens, or of both', () => {
    expect(config(tokens).auth).toMatchObject({
      certificates: undefined,
      tokens: { keys: { url: tokens.AUTH_JWKS_URL }, issuers: ['https://issuer.test'], audiences: ['messaging'], toleranceMs: 10_000 },
    });
    const file = { AUTH_JWKS_FILE: 'jwks.json', AUTH_JWT_ISSUERS: 'a,b', AUTH_JWT_AUDIENCES: 'messaging', AUTH_JWT_ALGORITHMS: 'ES512' };
    expect(config({ ...certificates, ...file }).auth).toMatchObject({
      certificates: {},
      tokens: { keys: { file: 'jwks.json' }, algorithms: ['ES512'] },
    });
  });

  it.each<[string, Settings, string]>([
    ['is off and on at once', { ...certificates, AUTH_MODE: 'off' }, 'AUTH_MODE: is off although TLS_CLIENT_CA_FILE is set'],
    [
      'has certificates of clients and none of its own',
      { TLS_CLIENT_CA_FILE: 'ca.pem' },
      'TLS_CLIENT_CA_FILE: certificates are shown over TLS',
    ],
    ['takes tokens for others', { ...tokens, AUTH_JWT_AUDIENCES: '' }, 'AUTH_JWT_ISSUERS, AUTH_JWT_AUDIENCES: set both'],
    ['takes tokens of anybody', { ...tokens, AUTH_JWT_ISSUERS: '' }, 'AUTH_JWT_ISSUERS, AUTH_JWT_AUDIENCES: set both'],
    ['has keys from two places', { ...tokens, AUTH_JWKS_FILE: 'jwks.json' }, 'AUTH_JWKS_URL, AUTH_JWKS_FILE: set one of them'],
    ['takes shared secrets', { ...tokens, AUTH_JWT_ALGORITHMS: 'ES256,HS256' }, 'AUTH_JWT_ALGORITHMS: must be some of RS256'],
    ['takes unsigned tokens', { ...tokens, AUTH_JWT_ALGORITHMS: 'none' }, 'AUTH_JWT_ALGORITHMS: must be some of'],
    ['takes no algorithm', { ...tokens, AUTH_JWT_ALGORITHMS: ',' }, 'AUTH_JWT_ALGORITHMS: must be some of'],
    [
      'has keys that anybody on the way can change',
      { ...tokens, AUTH_JWKS_URL: 'http://issuer.test/jwks' },
      'AUTH_JWKS_URL: must look like https://',
    ],
    [
      'shows a password with its keys',
      { ...tokens, AUTH_JWKS_URL: 'https://a:b@issuer.test/jwks' },
      'AUTH_JWKS_URL: must look like https://',
    ],
    ['has a role that there is not', { ...certificates, AUTH_CERT_ROLES: 'billing=admin' }, 'AUTH_CERT_ROLES: must look like'],
    ['has a role for nobody', { ...certificates, AUTH_CERT_ROLES: '=caller' }, 'AUTH_CERT_ROLES: must look like'],
  ])('is refused when it %s', (_, settings, text) => {
    expect(refusal(settings)).toContain(text);
  });

  it('may have its keys from this machine without TLS', () => {
    for (const host of ['localhost', '127.0.0.1', '[::1]'])
      expect(config({ ...tokens, AUTH_JWKS_URL: `http://${host}:8000/jwks` }).auth?.tokens?.keys).toEqual({
        url: `http://${host}:8000/jwks`,
      });
  });
});
