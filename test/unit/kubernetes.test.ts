/** No cluster runs in the tests: the manifests are held against the schemas of Kubernetes, and against the service that they are about. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { readConfig } from '../../src/config.ts';
import { variables } from '../../src/config-variables.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { deployedRules } from '../support/deployed.ts';

const folder = 'deploy/kubernetes';

interface Container {
  readonly command?: readonly string[];
  readonly image: string;
  readonly env?: readonly { readonly name: string; readonly value: string }[];
  readonly envFrom: readonly { readonly configMapRef?: { readonly name: string }; readonly secretRef?: { readonly name: string } }[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly securityContext: object;
  readonly resources: { readonly requests: Record<string, string>; readonly limits: Record<string, string> };
  readonly startupProbe?: { readonly httpGet: { readonly path: string } };
  readonly livenessProbe?: { readonly httpGet: { readonly path: string } };
  readonly readinessProbe?: { readonly grpc?: { readonly port: number }; readonly httpGet?: { readonly path: string } };
}

interface PodSpec {
  readonly terminationGracePeriodSeconds?: number;
  readonly securityContext: object;
  readonly automountServiceAccountToken: boolean;
  readonly containers: readonly Container[];
}

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly labels: Record<string, string> };
  readonly data?: Record<string, string>;
  // biome-ignore lint/suspicious/noExplicitAny: the schemas of Kubernetes say what it is, kind by kind
  readonly spec?: any;
}

const kustomization = parse(readFileSync(`${folder}/kustomization.yaml`, 'utf8'));
const manifests: readonly Manifest[] = kustomization.resources.flatMap((file: string) =>
  parseAllDocuments(readFileSync(`${folder}/${file}`, 'utf8')).map((document) => document.toJS()),
);
const find = (kind: string, name: string): Manifest => {
  const found = manifests.find((manifest) => manifest.kind === kind && manifest.metadata.name === name);
  if (found === undefined) throw new Error(`no ${kind} ${name}`);
  return found;
};
const deployments = ['server', 'worker'].map((role) => ({ role, manifest: find('Deployment', `messaging-${role}`) }));
const pods = [...deployments.map(({ manifest }) => manifest), find('Job', 'messaging-migration')].map(({ metadata, spec }) => ({
  name: metadata.name,
  labels: spec.template.metadata.labels as Record<string, string>,
  pod: spec.template.spec as PodSpec,
  container: (spec.template.spec as PodSpec).containers[0] as Container,
}));
const settings = find('ConfigMap', 'messaging').data ?? {};
const config = readConfig({ ...settings, DATABASE_URL: 'postgres://x' });

/** The class of a kind, which knows its schema; kubernetes-models has a module for each. */
async function modelOf({ apiVersion, kind }: Manifest) {
  const specifier = `kubernetes-models/${apiVersion}/${kind}`;
  const module = await import(/* @vite-ignore */ specifier);
  return module[kind] as new (
    manifest: Manifest,
  ) => { validate(): void };
}

describe('manifests', () => {
  it('are all of those in the folder', () => {
    const beside = ['README.md', 'kustomization.yaml', 'prometheus-adapter.yaml', 'prometheus-scrape.yaml', 'tls'];
    expect([...kustomization.resources, ...beside].toSorted()).toEqual(readdirSync(folder).toSorted());
  });

  it.each(manifests.map((manifest) => [manifest.kind, manifest.metadata.name, manifest] as const))(
    '%s %s is what Kubernetes takes',
    async (_kind, _name, manifest) => {
      const Model = await modelOf(manifest);
      new Model(manifest).validate();
      const broken = {
        ...manifest,
        spec: { ...manifest.spec, template: 1, selector: 1, podSelector: 1, rules: 1, ports: 1, metrics: 1 },
        data: 1,
        automountServiceAccountToken: 1,
      };
      expect(() => new Model(broken as unknown as Manifest).validate()).toThrow();
      expect(manifest.metadata.labels['app.kubernetes.io/name']).toBe('messaging');
    },
  );

  it('hold no secret: those come from Secrets', () => {
    const secrets = Object.entries(variables).flatMap(([name, { desc }]) => (/Secret\b/.test(desc ?? '') ? [name] : []));
    expect(secrets).toContain('DATABASE_URL');
    expect(manifests.map(({ kind }) => kind)).not.toContain('Secret');
    for (const name of secrets) expect(JSON.stringify(manifests)).not.toContain(`"${name}"`);
  });
});

describe('pods', () => {
  it.each(pods)('$name runs without a right that it does not need', ({ pod, container }) => {
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } });
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    expect(pod.automountServiceAccountToken).toBe(false);
    expect(container.resources).toMatchObject({
      requests: { memory: container.resources.limits['memory'] },
      limits: { memory: expect.any(String) },
    });
    expect(container.image).toBe(kustomization.images[0].name);
  });

  it('are configured with variables that the service reads and values that it accepts', () => {
    const env = [...Object.keys(settings), ...pods.flatMap(({ container }) => container.env ?? []).map(({ name }) => name)];
    for (const name of env.filter((one) => !one.startsWith('OTEL_'))) expect(Object.keys(variables)).toContain(name);
    for (const value of Object.values(settings)) expect(value, 'YAML reads it as text').toBeTypeOf('string');
    for (const { role, manifest } of deployments) {
      const container: Container = manifest.spec.template.spec.containers[0];
      expect(container.env).toEqual([{ name: 'PROCESS_ROLE', value: role }]);
      expect(container.envFrom).toContainEqual({ configMapRef: { name: 'messaging' } });
    }
  });

  it('ask who calls', () => expect(config.auth?.tokens).toBeDefined());

  it('are given the time that they take to stop', () => {
    for (const { manifest } of deployments) {
      const { terminationGracePeriodSeconds } = manifest.spec.template.spec as PodSpec;
      expect(terminationGracePeriodSeconds).toBeGreaterThan((config.shutdown.delayMs + config.shutdown.timeoutMs) / 1_000);
    }
    // A message that is being handed over is finished.
    expect(config.shutdown.timeoutMs).toBeGreaterThan(config.dispatch.callMs);
  });

  it('are asked by probes that the service answers, and are not restarted for what a restart does not mend', () => {
    for (const { manifest } of deployments) {
      const [container] = manifest.spec.template.spec.containers as readonly Container[];
      expect([container?.startupProbe?.httpGet.path, container?.livenessProbe?.httpGet.path]).toEqual(['/healthz', '/healthz']);
    }
    const [server, worker] = pods;
    expect(server?.container.readinessProbe?.grpc?.port).toBe(config.grpc.port);
    expect(worker?.container.readinessProbe?.httpGet?.path).toBe('/readyz');
  });

  it('migrate as the owner of the tables, with what the image has', () => {
    const { container } = pods.at(-1) ?? {};
    expect(container?.command).toEqual(['node', 'src/apply-migrations.ts']);
    expect(readFileSync('src/apply-migrations.ts', 'utf8')).toContain('migrate(');
    expect(readFileSync('.dockerignore', 'utf8')).not.toContain('src/apply-migrations.ts');
    expect(container?.envFrom).toEqual([{ secretRef: { name: 'messaging-database-owner' } }]);
  });
});

describe('what stands around them', () => {
  const container = (role: string): Container => find('Deployment', `messaging-${role}`).spec.template.spec.containers[0];

  it('finds them by their labels and ports', () => {
    const ports = container('server').ports ?? [];
    expect(ports).toEqual([
      { name: 'grpc', containerPort: config.grpc.port },
      { name: 'http', containerPort: config.http.port },
    ]);
    for (const { kind, spec } of manifests.filter(({ kind }) => ['Service', 'PodDisruptionBudget'].includes(kind))) {
      const selector: Record<string, string> = kind === 'Service' ? spec.selector : spec.selector.matchLabels;
      expect(pods.map(({ labels }) => labels)).toContainEqual(selector);
      for (const port of spec.ports ?? []) expect(ports).toContainEqual({ name: port.targetPort, containerPort: port.port });
    }
    expect(find('Service', 'messaging-grpc').spec.clusterIP).toBe('None');
    const [rule] = find('Ingress', 'messaging-webhooks').spec.rules;
    expect(`https://${rule.host}`).toBe(settings['PUBLIC_URL']);
    expect(rule.http.paths).toMatchObject([
      { path: '/webhooks', backend: { service: { name: 'messaging-webhooks', port: { name: 'http' } } } },
    ]);
  });

  it('lets through the network what is needed, and nothing else', () => {
    const policies = manifests.filter(({ kind }) => kind === 'NetworkPolicy');
    type Rule = { readonly ports: readonly { readonly port: number }[] };
    const open = (side: 'ingress' | 'egress') =>
      policies.flatMap(({ spec }) => (spec[side] ?? []).flatMap((rule: Rule) => rule.ports.map(({ port }) => port)));
    const [otlp, redis] = [Number(new URL(settings['OTEL_EXPORTER_OTLP_ENDPOINT'] ?? '').port), 6_379];
    expect(open('ingress').toSorted()).toEqual([config.grpc.port, config.http.port, config.http.port].toSorted());
    expect(new Set(open('egress'))).toEqual(new Set([53, 5_432, redis, 26_379, otlp, 443]));
    for (const { spec } of policies)
      for (const rule of [...(spec.ingress ?? []), ...(spec.egress ?? [])]) expect(rule.from ?? rule.to).not.toEqual([]);
  });

  it('scales each by CPU, and workers by the age of the queue, a metric that there is', async () => {
    for (const role of ['server', 'worker']) {
      const { spec } = find('HorizontalPodAutoscaler', `messaging-${role}`);
      expect(spec.scaleTargetRef).toEqual({ apiVersion: 'apps/v1', kind: 'Deployment', name: `messaging-${role}` });
      expect(spec.minReplicas).toBeGreaterThanOrEqual(2);
      expect(find('Deployment', `messaging-${role}`).spec.replicas).toBeUndefined();
      expect(spec.metrics[0].resource.name).toBe('cpu');
    }
    const external = find('HorizontalPodAutoscaler', 'messaging-worker').spec.metrics[1].external.metric.name;
    const [rule] = parse(readFileSync(`${folder}/prometheus-adapter.yaml`, 'utf8')).rules.external;
    expect([rule.name.as, rule.seriesQuery.split('{')[0]]).toEqual([external, external]);
    expect((await createMetrics().exposition()).text).toContain(`# TYPE ${external} gauge`);
  });
});

it('Prometheus scrapes every pod on the port it names, under the job that rules and dashboards ask for', () => {
  const [scrape] = parse(readFileSync(`${folder}/prometheus-scrape.yaml`, 'utf8')).scrape_configs;
  const jobs = deployedRules().flatMap(({ expr }) => [...expr.matchAll(/job="([^"]*)"/g)].map(([, job]) => job));
  expect(new Set(jobs)).toEqual(new Set([scrape.job_name]));
  expect(scrape.kubernetes_sd_configs).toEqual([{ role: 'pod', namespaces: { names: [kustomization.namespace] } }]);
  const asked = JSON.stringify(scrape.relabel_configs);
  for (const role of ['server', 'worker']) {
    const { annotations } = find('Deployment', `messaging-${role}`).spec.template.metadata;
    expect(annotations['prometheus.io/path']).toBe('/metrics');
    for (const name of ['scrape', 'port']) {
      expect(annotations).toHaveProperty([`prometheus.io/${name}`]);
      expect(asked).toContain(`"__meta_kubernetes_pod_annotation_prometheus_io_${name}"`);
    }
  }
});

it('with TLS, servers read the certificate from where it is mounted, and are asked without gRPC', () => {
  const patch = parse(readFileSync(`${folder}/tls/server.yaml`, 'utf8'));
  const { containers, volumes } = patch.spec.template.spec;
  const [{ env, volumeMounts, readinessProbe }] = containers;
  const names = env.map(({ name }: { name: string }) => name);
  expect(names).toEqual(['TLS_CERT_FILE', 'TLS_KEY_FILE', 'TLS_CLIENT_CA_FILE', 'AUTH_CERT_ROLES']);
  const own = Object.fromEntries(env.map(({ name, value }: { name: string; value: string }) => [name, value]));
  expect(readConfig({ ...settings, ...own, DATABASE_URL: 'postgres://x' }).auth?.certificates).toBeDefined();
  for (const { value } of env.slice(0, 3)) expect(value.startsWith(`${volumeMounts[0].mountPath}/`)).toBe(true);
  expect(volumes[0].name).toBe(volumeMounts[0].name);
  expect(readinessProbe).toEqual({ grpc: null, httpGet: { path: '/readyz', port: 'http' } });
  expect(parse(readFileSync(`${folder}/tls/kustomization.yaml`, 'utf8'))).toMatchObject({
    resources: ['..'],
    patches: [{ path: 'server.yaml' }],
  });
});
