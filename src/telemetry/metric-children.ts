/** Series of metrics that are found, or counted, at less cost than prom-client's own. */
import { Counter, type CounterConfiguration, type Histogram, type LabelValues } from 'prom-client';

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

type Timed = (seconds: number, trace: Exemplar | undefined) => void;

export function timed<Label extends string>(histogram: Histogram<Label>, labels: Record<Label, string>): Timed {
  const unsampled = histogram.labels(labels);
  return (seconds, trace) => {
    if (trace === undefined) {
      unsampled.observe(seconds);
      return;
    }
    const exemplar = { trace_id: trace.traceId, span_id: trace.spanId };
    // prom-client's types take an exemplar for labels of the metric.
    histogram.observe({ labels, value: seconds, exemplarLabels: exemplar as LabelValues<Label> });
  };
}
