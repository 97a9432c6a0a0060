/** grpc.health.v1.Health: what load balancers and orchestrators ask before they send calls here. */
import { Code, ConnectError, type ConnectRouter } from '@connectrpc/connect';
import { Health as HealthService, HealthCheckResponse_ServingStatus as ServingStatus } from '../../gen/grpc/health/v1/health_pb.js';

/** What the routes need to know. */
export interface HealthSource {
  /** Full names; "" is the server as a whole. */
  readonly services: readonly string[];
  /** undefined: no such service. */
  statusOf(service: string): ServingStatus | undefined;
  /** Aborted when no status will ever change again. */
  readonly closed: AbortSignal;
  /** Calls `listener` after every change. Returns what ends the subscription. */
  subscribe(listener: () => void): () => void;
}

/** The status of every service of this process. NOT_SERVING until set. */
export interface Health extends HealthSource {
  /** Has no effect after close(). */
  set(serving: boolean): void;
  /** NOT_SERVING for good. Every Watch delivers that and ends, so that open watches do not hold up a shutdown. */
  close(): void;
}

/** All services share one fate: each needs the same PostgreSQL. "" is added to `services`. */
export function createHealth(services: readonly string[]): Health {
  const known = new Set(['', ...services]);
  const listeners = new Set<() => void>();
  const closing = new AbortController();
  let status: ServingStatus = ServingStatus.NOT_SERVING;
  const change = (next: ServingStatus): void => {
    status = next;
    for (const listener of [...listeners]) listener();
  };
  return {
    services: [...known],
    closed: closing.signal,
    statusOf: (service) => (known.has(service) ? status : undefined),
    subscribe(listener) {
      // Wrapped, so that subscribing one function twice makes two subscriptions.
      const subscription = (): void => listener();
      listeners.add(subscription);
      return () => void listeners.delete(subscription);
    },
    set(serving) {
      const next = serving ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
      if (!closing.signal.aborted && next !== status) change(next);
    },
    close() {
      if (closing.signal.aborted) return;
      closing.abort();
      change(ServingStatus.NOT_SERVING);
    },
  };
}

/** Yields the status now and after every change. A slow reader misses what came and went meanwhile, so nothing piles up. */
async function* watch(health: HealthSource, service: string, signal: AbortSignal): AsyncGenerator<{ status: ServingStatus }> {
  let wake = Promise.withResolvers<void>();
  const onChange = (): void => wake.resolve();
  const unsubscribe = health.subscribe(onChange);
  signal.addEventListener('abort', onChange);
  try {
    let told: ServingStatus | undefined;
    while (!signal.aborted) {
      const status = health.statusOf(service) ?? ServingStatus.SERVICE_UNKNOWN;
      if (status !== told) {
        told = status;
        yield { status };
      } else if (health.closed.aborted) {
        throw new ConnectError('the server is shutting down', Code.Unavailable);
      } else {
        await wake.promise;
        wake = Promise.withResolvers();
      }
    }
    // The reason holds the status: deadline exceeded, or canceled.
    signal.throwIfAborted();
  } finally {
    unsubscribe();
    signal.removeEventListener('abort', onChange);
  }
}

/**
 * Check throws NOT_FOUND for an unknown service; Watch reports SERVICE_UNKNOWN instead and goes on. Above `maxWatches` open
 * watches a further one is refused with RESOURCE_EXHAUSTED.
 */
export function healthRoutes(health: HealthSource, maxWatches = 1_000): (router: ConnectRouter) => void {
  let watches = 0;
  return (router) => {
    router.service(HealthService, {
      check({ service }) {
        const status = health.statusOf(service);
        if (status === undefined) throw new ConnectError('unknown service', Code.NotFound);
        return { status };
      },
      list() {
        const entries = health.services.map((service) => [service, { status: health.statusOf(service) ?? ServingStatus.UNKNOWN }]);
        return { statuses: Object.fromEntries(entries) };
      },
      async *watch({ service }, { signal }) {
        if (watches >= maxWatches) throw new ConnectError(`more than ${maxWatches} open watches`, Code.ResourceExhausted);
        watches += 1;
        try {
          yield* watch(health, service, signal);
        } finally {
          watches -= 1;
        }
      },
    });
  };
}
