/** The metrics of a running service, as Prometheus would read them. */

export interface Metrics {
  readonly text: string;
  /** The sum of all samples of this name that carry these labels; 0 when there is none. */
  sum(name: string, labels?: Readonly<Record<string, string>>): number;
}

interface Sample {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly value: number;
}

const SAMPLE = /^([a-z_]+)(?:\{(.*?)\})? (\S+)/;

function readSample(line: string): Sample | undefined {
  const [, name, labels = '', value] = SAMPLE.exec(line) ?? [];
  if (name === undefined) return undefined;
  const pairs = [...labels.matchAll(/([a-z_]+)="([^"]*)"/g)].map(([, label = '', text = '']) => [label, text] as const);
  return { name, labels: new Map(pairs), value: Number(value) };
}

export async function scrape({ httpPort }: { readonly httpPort: number }): Promise<Metrics> {
  const text = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text();
  const samples = text.split('\n').flatMap((line) => readSample(line) ?? []);
  return {
    text,
    sum: (name, labels = {}) =>
      samples
        .filter((sample) => sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels.get(label) === value))
        .reduce((sum, { value }) => sum + value, 0),
  };
}
