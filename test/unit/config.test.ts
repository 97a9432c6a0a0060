import { describe, expect, it } from 'vitest';
import { ConfigError, readConfig } from '../../src/config.ts';
import { variables } from '../../src/config-variables.ts';

const minimal = { DATABASE_URL: 'postgresql://app:hunter2@db:5432/messaging', AUTH_MODE: 'off' };

function refusal(environment: Readonly<Record<string, string>>): string {
  try {
    readConfig(environment);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error('was accepted');
}

function linesAbout(report: string): string[] {
  return report
    .split('\n')
    .filter((line) => line.startsWith('  '))
    .map((line) => line.trim().replace(/:.*/, ''))
    .sort();
}

describe('the configuration', () => {
  it('needs nothing but the database', () => {
    const config = readConfig(minimal);
    expect(config.database.url).toBe(minimal.DATABASE_URL);
    expect(config.cache).toBeUndefined();
    expect(config.grpc).toMatchObject({ port: 50_051, tls: undefined });
  });

  it('turns the cache on with the names of the seed', () => {
    const config = readConfig({
      ...minimal,
      REDIS_HOST: 'redis',
      REDIS_PORT: '6380',
      REDIS_DB: '2',
      REDIS_PASSWORD: 'p',
      CACHE_TTL_SECONDS: '60',
    });
    expect(config.cache).toMatchObject({
      redis: { topology: { kind: 'standalone', host: 'redis', port: 6_380 }, db: 2, password: 'p' },
      ttlMs: 60_000,
    });
  });

  it('finds Redis by sentinels', () => {
    const sentinels = { REDIS_SENTINELS: 's1:26379, 10.0.0.2:26380,[fd00::3]:26379', REDIS_SENTINEL_PASSWORD: 'sp' };
    const topology = {
      kind: 'sentinel',
      sentinels: [
        { host: 's1', port: 26_379 },
        { host: '10.0.0.2', port: 26_380 },
        { host: 'fd00::3', port: 26_379 },
      ],
      masterName: 'mymaster',
      sentinelPassword: 'sp',
    };
    expect(readConfig({ ...minimal, ...sentinels }).cache?.redis.topology).toEqual(topology);
    const named = readConfig({ ...minimal, ...sentinels, REDIS_SENTINEL_MASTER: 'messages' });
    expect(named.cache?.redis.topology).toEqual({ ...topology, masterName: 'messages' });
  });

  it('finds a Redis Cluster by some of its nodes', () => {
    const nodes = [
      { host: 'n1', port: 7_000 },
      { host: 'n2', port: 7_001 },
    ];
    const config = readConfig({ ...minimal, REDIS_CLUSTER_NODES: 'n1:7000,n2:7001' });
    expect(config.cache?.redis.topology).toEqual({ kind: 'cluster', nodes });
  });

  it('cannot be changed afterwards', () => {
    expect(Object.isFrozen(readConfig(minimal))).toBe(true);
  });

  it('ignores variables that are not its own', () => {
    expect(readConfig({ ...minimal, PATH: '/bin', GRPC_PROT: '1' })).toEqual(readConfig(minimal));
  });

  it('splits a list of senders at commas', () => {
    expect(readConfig({ ...minimal, SENDER_ADDRESSES: ' +14155552671, shop@example.com,, ' }).senderAddresses).toEqual([
      '+14155552671',
      'shop@example.com',
    ]);
  });
});

describe('the configuration as operators see it', () => {
  const secrets = { DATABASE_URL: minimal.DATABASE_URL, REDIS_PASSWORD: 'hunter2', STATUS_TOKEN: 'hunter2 hunter2 hunter2' };
  const { settings } = readConfig({
    ...minimal,
    ...secrets,
    SENDER_ADDRESSES: '+14155552671,shop@example.com',
    REDIS_SENTINELS: 's1:26379,s2:26379',
    CACHE_TTL_SECONDS: '60',
  });
  const shown = (name: string) => settings.find((setting) => setting.name === name);

  it('has every variable, of secrets only whether they are set, and of addresses how many there are', () => {
    expect(settings.map(({ name }) => name)).toEqual(Object.keys(variables));
    expect(JSON.stringify(settings)).not.toMatch(/hunter2|14155552671|shop@/);
    for (const name of Object.keys(secrets)) expect(shown(name)).toEqual({ name, value: 'set', isSet: true });
    expect(shown('SENDGRID_API_KEY')).toEqual({ name: 'SENDGRID_API_KEY', value: '', isSet: false });
    expect(shown('SENDER_ADDRESSES')?.value).toBe('2 set');
    expect(shown('REDIS_SENTINELS')?.value).toBe('s1:26379, s2:26379');
    expect(shown('CACHE_TTL_SECONDS')).toEqual({ name: 'CACHE_TTL_SECONDS', value: '60', isSet: true });
    expect(shown('GRPC_PORT')).toEqual({ name: 'GRPC_PORT', value: '50051', isSet: false });
  });

  it('takes for a secret whatever sounds like one', () => {
    /** Names of files, prefixes and rules are shown; public keys and the names of claims are counted or shown. */
    const harmless = /_(?:FILE|PREFIX|KEYS|CLAIM|ISSUERS|AUDIENCES|ALGORITHMS|SECONDS)$/;
    const names = Object.keys(variables).filter((name) => /TOKEN|PASSWORD|SECRET|_KEY|CREDENTIAL/.test(name) && !harmless.test(name));
    expect(names.length).toBeGreaterThan(5);
    for (const name of names) expect(variables[name as keyof typeof variables].desc).toMatch(/ Secret\b/);
  });
});

describe('a wrong configuration', () => {
  it('has a token of the status page that is too short', () => {
    const report = refusal({ ...minimal, STATUS_TOKEN: 'hunter2' });
    expect(linesAbout(report)).toEqual(['STATUS_TOKEN']);
    expect(report).not.toContain('hunter2');
  });

  it('is reported at once, one line for each wrong variable', () => {
    const wrong = {
      REDIS_PORT: '0',
      REDIS_DB: '-1',
      REDIS_TLS: 'maybe',
      CACHE_TTL_SECONDS: 'five minutes',
      GRPC_PORT: '70000',
      MAX_REQUEST_BYTES: '1.5',
      LOG_LEVEL: 'loud',
      TRACE_SAMPLE_RATIO: '1.5',
      AUTH_MODE: 'perhaps',
    };
    expect(linesAbout(refusal(wrong))).toEqual(['DATABASE_URL', ...Object.keys(wrong)].sort());
  });

  it('is described by what the variable means', () => {
    expect(refusal({})).toContain(`DATABASE_URL: is not set. ${variables.DATABASE_URL.desc}`);
    expect(refusal({ ...minimal, GRPC_PORT: 'x' })).toContain('GRPC_PORT: must be a whole number from 0 to 65535');
  });

  it('includes half of a key pair', () => {
    expect(refusal({ ...minimal, TLS_CERT_FILE: 'cert.pem' })).toContain('TLS_CERT_FILE, TLS_KEY_FILE: set both or neither');
    expect(refusal({ ...minimal, TLS_KEY_FILE: 'key.pem' })).toContain('TLS_CERT_FILE, TLS_KEY_FILE: set both or neither');
  });

  it.each(['s1', ':26379', 's1:', 's1:x', 's1:0', 's1:70000', 's1:26379;s2:26379', 'redis://:pw@s1:6379'])(
    'has the list of servers %j',
    (list) => {
      expect(linesAbout(refusal({ ...minimal, REDIS_SENTINELS: list }))).toEqual(['REDIS_SENTINELS']);
      expect(linesAbout(refusal({ ...minimal, REDIS_CLUSTER_NODES: `n1:7000,${list}` }))).toEqual(['REDIS_CLUSTER_NODES']);
    },
  );

  it('shares a port where the system cannot', () => {
    const shared = { ...minimal, GRPC_REUSE_PORT: 'true' };
    expect(() => readConfig(shared, 'darwin')).toThrow('GRPC_REUSE_PORT: processes cannot share a port on darwin');
    expect(readConfig(shared, 'linux').grpc.reusePort).toBe(true);
    expect(readConfig(minimal, 'darwin').grpc.reusePort).toBe(false);
  });

  it('has more than one kind of Redis', () => {
    const kinds = { REDIS_HOST: 'redis', REDIS_SENTINELS: 's1:26379', REDIS_CLUSTER_NODES: 'n1:7000' };
    const { REDIS_HOST, REDIS_SENTINELS, REDIS_CLUSTER_NODES } = kinds;
    for (const two of [
      { REDIS_HOST, REDIS_SENTINELS },
      { REDIS_HOST, REDIS_CLUSTER_NODES },
      { REDIS_SENTINELS, REDIS_CLUSTER_NODES },
      kinds,
    ]) {
      expect(refusal({ ...minimal, ...two })).toContain('REDIS_HOST, REDIS_SENTINELS, REDIS_CLUSTER_NODES: set one of them.');
    }
  });

  it.each(['', '  ', 'mysql://app:hunter2@db/x', 'hunter2', 'postgresql://'])('has the database URL %j', (url) => {
    expect(linesAbout(refusal({ ...minimal, DATABASE_URL: url }))).toEqual(['DATABASE_URL']);
  });

  it('is reported without the values of secrets', () => {
    const secret = 'hunter2';
    const report = refusal({ DATABASE_URL: `mysql://app:${secret}@db/x`, REDIS_HOST: 'redis', REDIS_PASSWORD: secret, REDIS_PORT: 'x' });
    expect(report).not.toContain(secret);
  });

  it.each(Object.entries(variables))('could be about %s, which has a meaning to show', (_, { desc }) => {
    expect(desc).toMatch(/\.$/);
  });
});
