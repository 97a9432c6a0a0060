import type { ProviderHealth } from '../domain/provider-client.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { type Dependency, within } from './http-server.ts';

export interface ReadinessOptions {
  /** Throws when PostgreSQL cannot serve. */
  readonly database: () => Promise<void>;
  /** Throws when Redis cannot serve; undefined when the cache is off. */
  readonly redis: (() => Promise<void>) | undefined;
  /** Of the providers that this process sends through. */
  readonly providers?: () => readonly ProviderHealth[];
  readonly onChange: (ready: boolean) => void;
  readonly log: Log;
  readonly metrics: Pick<Metrics, 'dependencyUp'>;
}

export interface Readiness extends AsyncDisposable {
  /** Within a second or so: what has not answered by then does not answer. */
  check(): Promise<readonly Dependency[]>;
}

const INTERVAL_MS = 1_000;
/** Less than the HTTP port gives its answers, which name what is away. */
const SOON_MS = 1_000;

interface Asked {
  readonly name: 'postgresql' | 'redis';
  readonly required: boolean;
  readonly question: (() => Promise<void>) | undefined;
}

async function ask(
  { name, required, question }: Asked,
  metrics: ReadinessOptions['metrics'],
  timeoutMs: number | undefined,
): Promise<Dependency> {
  if (question === undefined) return { name, required, ok: true, detail: 'off by configuration' };
  try {
    await (timeoutMs === undefined ? question() : within(question(), timeoutMs));
    metrics.dependencyUp(name, true);
    return { name, required, ok: true, detail: 'answers' };
  } catch {
    metrics.dependencyUp(name, false);
    return { name, required, ok: false, detail: required ? 'does not answer' : 'does not answer; PostgreSQL serves all reads' };
  }
}

function ofProvider({ provider, breaker }: ProviderHealth): Dependency {
  const ok = breaker !== 'open';
  return { name: provider, required: false, ok, detail: ok ? 'is used' : 'is not asked for a while; its messages wait' };
}

/** Asks the dependencies every second and reports when the service becomes able or unable to serve. */
export function watchReadiness({ database, redis, providers = () => [], onChange, log, metrics }: ReadinessOptions): Readiness {
  const stopping = new AbortController();
  let ready: boolean | undefined;
  const check = async (timeoutMs?: number): Promise<readonly Dependency[]> => {
    const asked = await Promise.all([
      ask({ name: 'postgresql', required: true, question: database }, metrics, timeoutMs),
      ask({ name: 'redis', required: false, question: redis }, metrics, timeoutMs),
    ]);
    return [...asked, ...providers().map(ofProvider)];
  };

  async function watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // As long as it takes: a service that is slow for a moment is not taken out of service.
      const dependencies = await check();
      const now = dependencies.every(({ ok, required }) => ok || !required);
      if (now !== ready && !signal.aborted) {
        ready = now;
        onChange(now);
        if (now) log.info('ready');
        else log.warn({ away: dependencies.filter(({ ok }) => !ok).map(({ name }) => name) }, 'not ready');
      }
      // An abort that came during the check is not announced again.
      if (signal.aborted) return;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, INTERVAL_MS);
        signal.addEventListener(
          'abort',
          () => {
            clearTimeout(timer);
            resolve();
          },
          { once: true },
        );
      });
    }
  }

  const watching = watch(stopping.signal);
  return {
    check: () => check(SOON_MS),
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await watching;
    },
  };
}
