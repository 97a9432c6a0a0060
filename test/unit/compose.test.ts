/** No Docker engine runs in the tests: these checks are all that stands between a slip in these files and whoever starts them. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { readConfig } from '../../src/config.ts';
import { variables } from '../../src/config-variables.ts';
import { startHttpServer } from '../../src/http/http-server.ts';

interface Service {
  readonly image?: string;
  readonly build?: string;
  readonly environment?: Readonly<Record<string, unknown>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly command?: readonly string[];
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
}

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const exists = (path: string): boolean => existsSync(new URL(`../../${path}`, import.meta.url));

const compose: { readonly services: Readonly<Record<string, Service>>; readonly volumes: object } = parse(read('docker-compose.yml'));
const services = Object.entries(compose.services);
const environment = compose.services.messaging?.environment ?? {};
const hosts = Object.keys(compose.services);

/** Instruction and its arguments, continued lines joined. */
const instructions = read('Dockerfile')
  .replaceAll('\\\n', ' ')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'))
  .map((line) => {
    const [, name = '', rest = ''] = /^([A-Z]+)\s+(.*)$/.exec(line) ?? [];
    return { name, rest };
  });
const argumentsOf = (name: string): readonly string[] => instructions.filter((one) => one.name === name).map(({ rest }) => rest);

const KNOWN_KEYS = [
  'build',
  'command',
  'depends_on',
  'environment',
  'healthcheck',
  'image',
  'init',
  'ports',
  'stop_grace_period',
  'volumes',
];

describe('docker-compose.yml', () => {
  test.for(services)('%s is written with keys that exist, and comes from a pinned image or from the Dockerfile', ([, service]) => {
    expect(KNOWN_KEYS).toEqual(expect.arrayContaining(Object.keys(service)));
    if (service.build === undefined) expect(service.image).toMatch(/^[a-z0-9/-]+:v?\d+(\.\d+)*$/);
    else expect([service.image, exists(`${service.build}/Dockerfile`)]).toEqual([undefined, true]);
  });

  test.for(services)('%s waits only for services that exist and, where it waits for health, report it', ([, service]) => {
    for (const [name, { condition }] of Object.entries(service.depends_on ?? {})) {
      expect(hosts).toContain(name);
      expect(['service_started', 'service_healthy']).toContain(condition);
      if (condition === 'service_healthy') expect(compose.services[name]?.healthcheck).toBeDefined();
    }
  });

  test.for(services)('%s mounts only what exists, and its health check is a command', ([, service]) => {
    for (const volume of service.volumes ?? []) {
      const [source = ''] = volume.split(':');
      expect(source.startsWith('./') ? exists(source) : source in compose.volumes, volume).toBe(true);
    }
    if (service.build === undefined) expect(service.healthcheck?.test[0]).toBe('CMD');
  });

  test('publishes every port once, and only to this machine', () => {
    const published = services.flatMap(([, service]) => service.ports ?? []);
    for (const port of published) expect(port).toMatch(/^127\.0\.0\.1:(\d+):\d+$/);
    expect(published).toHaveLength(new Set(published).size);
  });

  test('configures the service with variables it reads and values it accepts', () => {
    const own = Object.entries(environment).filter(([name]) => !name.startsWith('OTEL_'));
    for (const [name, value] of own) {
      expect(Object.keys(variables)).toContain(name);
      expect(value, `${name}: a value that YAML reads as text`).toBeTypeOf('string');
    }
    const config = readConfig(Object.fromEntries(own) as Record<string, string>);
    expect(config).toMatchObject({ migrateOnStart: true, cache: { redis: { topology: { host: 'redis' } } } });
    const ports = (compose.services.messaging?.ports ?? []).map((port) => Number(port.split(':').at(-1)));
    expect(ports).toEqual([config.grpc.port, config.http.port]);
  });

  test('runs a server and a worker that agree on everything else', () => {
    const worker = compose.services.worker?.environment ?? {};
    expect([environment.PROCESS_ROLE, worker.PROCESS_ROLE]).toEqual(['server', 'worker']);
    expect(environment).toMatchObject({ ...worker, PROCESS_ROLE: 'server' });
  });

  test('connects to services that exist, as the user they are created with', () => {
    const { DATABASE_URL, REDIS_HOST, OTEL_EXPORTER_OTLP_ENDPOINT } = environment;
    const { hostname, username, password, pathname } = new URL(String(DATABASE_URL));
    const created = compose.services[hostname]?.environment;
    expect(created).toMatchObject({ POSTGRES_USER: username, POSTGRES_PASSWORD: password, POSTGRES_DB: pathname.slice(1) });
    expect(hosts).toEqual(expect.arrayContaining([REDIS_HOST, new URL(String(OTEL_EXPORTER_OTLP_ENDPOINT)).hostname]));
  });

  test('runs Redis as a cache: bounded, evicting, nothing on disk', () => {
    expect(compose.services.redis?.command?.join(' ')).toBe(
      'redis-server --maxmemory 256mb --maxmemory-policy allkeys-lfu --appendonly no --save ',
    );
  });
});

describe('deploy/', () => {
  test('lets Prometheus scrape the HTTP port of every process, under the name that rules and dashboards know', () => {
    const { scrape_configs: jobs, rule_files: rules } = parse(read('deploy/prometheus.yml'));
    const processes = services.filter(([, { build }]) => build !== undefined).map(([name]) => name);
    const { port } = readConfig({ DATABASE_URL: 'postgres://x', AUTH_MODE: 'off' }).http;
    expect(jobs).toEqual([{ job_name: 'messaging-service', static_configs: [{ targets: processes.map((name) => `${name}:${port}`) }] }]);
    expect(rules).toEqual(['rules/*.yml']);
    expect(compose.services.prometheus?.volumes).toEqual([
      './deploy/prometheus.yml:/etc/prometheus/prometheus.yml:ro',
      './deploy/rules:/etc/prometheus/rules:ro',
    ]);
  });

  test('gives Grafana the dashboards where it looks for them', () => {
    const { providers } = parse(read('deploy/grafana/provisioning/dashboards/dashboards.yml'));
    expect(providers).toMatchObject([{ type: 'file', options: { path: '/var/lib/grafana/dashboards' } }]);
    expect(compose.services.grafana?.volumes).toContain('./deploy/grafana/dashboards:/var/lib/grafana/dashboards:ro');
  });

  test('points Grafana at services that exist', () => {
    const { datasources } = parse(read('deploy/grafana/provisioning/datasources/datasources.yml'));
    for (const { url } of datasources) expect(hosts).toContain(new URL(url).hostname);
  });
});

describe('Dockerfile', () => {
  test('builds on the Node that package.json pins', () => {
    const { node } = JSON.parse(read('package.json')).devDependencies;
    const tags = argumentsOf('FROM').map((image) => image.replace(/@sha256:[0-9a-f]{64}/, ''));
    expect(tags).toEqual([`node:${node}-bookworm-slim AS packages`, `node:${node}-bookworm-slim`]);
  });

  test('copies only what exists and what .dockerignore lets through', () => {
    const allowed = read('.dockerignore')
      .split('\n')
      .filter((line) => line.startsWith('!'))
      .map((line) => line.slice(1));
    const copied = argumentsOf('COPY')
      .filter((rest) => !rest.startsWith('--from='))
      .flatMap((rest) => rest.split(/\s+/).slice(0, -1));
    for (const path of copied) expect(exists(path), path).toBe(true);
    expect(new Set(copied)).toEqual(new Set(allowed));
  });

  test('installs what is locked, without what only development needs, and without scripts', () => {
    expect(argumentsOf('RUN')).toEqual(['npm ci --omit=dev --ignore-scripts']);
  });

  test('gives up root before anything of ours runs, and exposes the default ports', () => {
    const names = instructions.map(({ name }) => name);
    expect(argumentsOf('USER')).toEqual(['node']);
    expect(names.indexOf('USER')).toBeLessThan(names.indexOf('CMD'));
    expect(names.indexOf('USER')).toBeGreaterThan(names.lastIndexOf('RUN'));
    const config = readConfig({ DATABASE_URL: 'postgres://x', AUTH_MODE: 'off' });
    expect(argumentsOf('EXPOSE')).toEqual([`${config.grpc.port} ${config.http.port}`]);
    expect(argumentsOf('CMD')).toEqual(['["node", "src/start.ts"]']);
  });

  test('has a health check that tells a living server from none', async () => {
    const [, command = ''] = /CMD (\[.*\])$/.exec(argumentsOf('HEALTHCHECK')[0] ?? '') ?? [];
    const [node, ...rest]: readonly string[] = JSON.parse(command);
    expect(node).toBe('node');
    const server = await startHttpServer({
      host: '127.0.0.1',
      port: 0,
      ready: async () => [],
      metrics: async () => ({ contentType: 'text/plain', text: '' }),
      isDraining: () => false,
    });
    const check = () => promisify(execFile)(process.execPath, rest, { env: { HTTP_PORT: String(server.port) } });
    await check();
    await server[Symbol.asyncDispose]();
    await expect(check()).rejects.toMatchObject({ code: 1 });
  });
});
