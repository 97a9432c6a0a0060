/** Series of metrics that are found, or counted, at less cost than prom-client's own. */
import {
  Counter,
  type CounterConfiguration,
  Histogram,
  type LabelValues,
  type MetricObjectWithValues,
  type MetricValueWithName,
  type OpenMetricsContentType,
  type Registry,
} from 'prom-client';

/** Returns what was made for a key before, or makes it: finding a metric's child anew for every call is most of its cost. */
export function remember<Key, Value>(make: (key: Key) => Value): (key: Key) => Value {
  const made = new Map<Key, Value>();
  return (key) => {
    const known = made.get(key);
    if (known !== undefined) return known;
    const value = make(key);
    made.set(key, value);
    return value;
  };
}

/** Counts in a plain number, which the metric takes over when it is read: an increment of prom-client's costs ten times as much. */
class Tally {
  #count = 0;

  inc(): void {
    this.#count += 1;
  }

  take(): number {
    const count = this.#count;
    this.#count = 0;
    return count;
  }
}

/** A counter whose children are tallies. */
export function tallied<Label extends string>(configuration: CounterConfiguration<Label>): (labels: Record<Label, string>) => Tally {
  const tallies: { readonly labels: Record<Label, string>; readonly tally: Tally }[] = [];
  new Counter({
    ...configuration,
    collect() {
      for (const { labels, tally } of tallies) {
        // Zero too: a rate over a counter that is not there yet misses its first increment.
        this.inc(labels, tally.take());
      }
    },
  });
  return (labels) => {
    const tally = new Tally();
    tallies.push({ labels, tally });
    return tally;
  };
}

export interface Exemplar {
  readonly traceId: string;
  readonly spanId: string;
}

/** Durations of one series, not cumulative. */
class Durations {
  readonly counts: Float64Array;
  sum = 0;
  readonly #bounds: readonly number[];

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  add(seconds: number): void {
    let place = 0;
    while (place < this.#bounds.length && seconds > (this.#bounds[place] ?? 0)) place += 1;
    this.counts[place] = (this.counts[place] ?? 0) + 1;
    this.sum += seconds;
  }
}

export interface DurationConfiguration<Label extends string> {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly Label[];
  readonly buckets: readonly number[];
  readonly registers: readonly Registry<OpenMetricsContentType>[];
}

/**
 * A histogram of durations. Those with an exemplar are prom-client's; the others are kept in plain numbers that join them when the metric
 * is read, because an observation there looks its series up by the labels each time.
 */
export class DurationHistogram<Label extends string> {
  readonly name: string;
  readonly #configuration: DurationConfiguration<Label>;
  readonly #exemplified: Histogram<Label>;
  readonly #series = new Map<string, Durations>();

  constructor(configuration: DurationConfiguration<Label>) {
    const { name, help, labelNames, buckets, registers } = configuration;
    this.name = name;
    this.#configuration = configuration;
    this.#exemplified = new Histogram({ name, help, labelNames, buckets: [...buckets], enableExemplars: true, registers: [] });
    // A registry asks a metric for its name and get(), and for no more.
    for (const registry of registers) registry.registerMetric(this as unknown as Histogram);
  }

  /** What takes the durations of one series. `exemplar`: of a trace that is recorded. */
  series(labels: Record<Label, string>): (seconds: number, exemplar: Exemplar | undefined) => void {
    const durations = new Durations(this.#configuration.buckets);
    this.#series.set(this.#keyOf(labels), durations);
    this.#exemplified.zero(labels);
    return (seconds, exemplar) => {
      if (exemplar === undefined) {
        durations.add(seconds);
        return;
      }
      const exemplarLabels = { trace_id: exemplar.traceId, span_id: exemplar.spanId };
      // prom-client's types take an exemplar for labels of the metric.
      this.#exemplified.observe({ labels, value: seconds, exemplarLabels: exemplarLabels as LabelValues<Label> });
    };
  }

  #keyOf(labels: Partial<Record<Label, string | number>>): string {
    return this.#configuration.labelNames.map((name) => labels[name]).join(' ');
  }

  async get(): Promise<MetricObjectWithValues<MetricValueWithName<Label>>> {
    const metric = await this.#exemplified.get();
    for (const value of metric.values) {
      const durations = this.#series.get(this.#keyOf(value.labels));
      if (durations !== undefined) value.value += shareOf(durations, value, this.#configuration.buckets);
    }
    return metric;
  }
}

/** What belongs to one line of the exposition: a bucket, of which each holds those below it too, the sum or the count. */
function shareOf({ counts, sum }: Durations, { metricName = '', labels }: MetricValueWithName<string>, bounds: readonly number[]): number {
  if (metricName.endsWith('_sum')) return sum;
  const bound = metricName.endsWith('_bucket') ? (labels as { readonly le?: number | string }).le : undefined;
  const place = bounds.indexOf(Number(bound));
  const upTo = place < 0 ? counts : counts.subarray(0, place + 1);
  return upTo.reduce((total, count) => total + count, 0);
}
