/** Debian's Prometheus over processes of a test, with the rules of deploy/ and a look every second. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { canInstall, findProgram } from '../../src/dev/debian.ts';
import { freePort } from '../../src/dev/ports.ts';
import { superviseUntil } from '../../src/dev/supervised-process.ts';

/** What this machine lacks; undefined: nothing, or it could be had by `make peers`, and whoever needs it fails. */
export function missingPrometheus(): string | undefined {
  const isThere = findProgram('prometheus') !== undefined && findProgram('promtool') !== undefined;
  return isThere || canInstall() ? undefined : 'prometheus and promtool (Debian: prometheus)';
}

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  /** NaN where a ratio of nothing was asked for. */
  readonly value: number;
}

export interface Rule {
  readonly name: string;
  readonly health: string;
  readonly lastError: string;
  readonly type: 'alerting' | 'recording';
  readonly state: string | undefined;
}

export interface Prometheus extends AsyncDisposable {
  /** As of now. Throws what Prometheus says of a query that it does not understand. */
  query(expr: string): Promise<readonly Sample[]>;
  rules(): Promise<readonly Rule[]>;
  /** Names of all series that it has. */
  metrics(): Promise<ReadonlySet<string>>;
  exemplars(expr: string): Promise<readonly { readonly labels: Readonly<Record<string, string>> }[]>;
}

interface Answer<Data> {
  readonly status: string;
  readonly error?: string;
  readonly data: Data;
}

/** `targets`: host:port of HTTP ports. Throws when this machine has no Prometheus. */
export async function startPrometheus(targets: readonly string[]): Promise<Prometheus> {
  await using opening = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'prometheus-'));
  opening.defer(() => rmSync(folder, { recursive: true, force: true }));
  const port = await freePort();
  const config = {
    global: { scrape_interval: '1s', evaluation_interval: '1s', external_labels: { runbook: 'deploy/RUNBOOK.md' } },
    rule_files: [resolve('deploy/rules/*.yml')],
    scrape_configs: [{ job_name: 'messaging-service', static_configs: [{ targets: [...targets] }] }],
  };
  writeFileSync(join(folder, 'prometheus.yml'), stringify(config));
  const server = await superviseUntil((output) => output.includes('Server is ready to receive web requests'), {
    command: 'prometheus',
    args: [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--enable-feature=exemplar-storage',
    ],
    stopSignal: 'SIGTERM',
    temporaryFolder: folder,
    onOutput: () => undefined,
  });
  opening.defer(async () => void (await server.kill()));
  const get = async <Data>(path: string, parameters: Readonly<Record<string, string>> = {}): Promise<Data> => {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/${path}?${new URLSearchParams(parameters)}`);
    const answer = (await response.json()) as Answer<Data>;
    if (answer.status !== 'success') throw new Error(`${answer.error}: ${parameters['query']}`);
    return answer.data;
  };
  const opened = opening.move();
  return {
    async query(query) {
      type Found = { resultType: string; result: readonly { metric: Record<string, string>; value: [number, string] }[] };
      const { resultType, result } = await get<Found>('query', { query });
      if (resultType !== 'vector') throw new Error(`a ${resultType}, not a vector: ${query}`);
      return result.map(({ metric, value }) => ({ labels: metric, value: Number(value[1]) }));
    },
    async rules() {
      const { groups } = await get<{ groups: readonly { rules: readonly Rule[] }[] }>('rules');
      return groups.flatMap(({ rules }) => rules);
    },
    metrics: async () => new Set(await get<readonly string[]>('label/__name__/values')),
    async exemplars(query) {
      const now = Date.now() / 1_000;
      const series = await get<readonly { exemplars: readonly { labels: Record<string, string> }[] }[]>('query_exemplars', {
        query,
        start: String(now - 600),
        end: String(now + 60),
      });
      return series.flatMap(({ exemplars }) => exemplars);
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}
