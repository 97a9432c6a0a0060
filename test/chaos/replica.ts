/** One process of the service, through its deaths: whoever calls it waits until it is there again. */
import type { Calls } from '../support/calls.ts';
import { callsTo } from '../support/calls.ts';
import { type ServiceProcess, startService } from '../support/processes.ts';
import { scrape } from '../support/scrape.ts';
import type { TcpProxy } from '../support/tcp-proxy.ts';

export interface Serving {
  readonly process: ServiceProcess;
  /** Readers and writers have connections of their own. */
  readonly reads: Calls;
  readonly writes: Calls;
}

export interface Replica extends AsyncDisposable {
  readonly index: number;
  readonly postgres: TcpProxy;
  /** undefined: it is connected to Redis itself. */
  readonly redis: TcpProxy | undefined;
  /** Resolves when it serves. */
  serving(): Promise<Serving>;
  /** Resolves when it has ended by itself and serves again. */
  revive(): Promise<void>;
  /** Stops it and starts it with these variables as well. */
  restart(extra?: Readonly<Record<string, string>>): Promise<void>;
  /** When it last said that it leads the relay, as ISO time; empty: never. */
  ledAt(): string;
  isTrusted(): Promise<boolean>;
}

export interface ReplicaOptions {
  readonly index: number;
  readonly env: Readonly<Record<string, string>>;
  readonly postgres: TcpProxy;
  readonly redis: TcpProxy | undefined;
}

const LEADS = /"time":"([^"]+)"[^\n]*"this process relays invalidations"/g;

export async function startReplica({ index, env, postgres, redis }: ReplicaOptions): Promise<Replica> {
  const launch = async (extra: Readonly<Record<string, string>>): Promise<Serving> => {
    const process = await startService({ ...env, ...extra }, 'test/chaos/service.ts');
    return { process, reads: callsTo(process), writes: callsTo(process) };
  };
  let running = await launch({});
  let serving = Promise.resolve(running);

  async function relaunch(ended: Promise<unknown>, extra: Readonly<Record<string, string>> = {}): Promise<void> {
    serving = ended.then(() => launch(extra));
    running = await serving;
  }

  return {
    index,
    postgres,
    redis,
    serving: () => serving,
    revive: () => relaunch(running.process.exited),
    restart: (extra) => relaunch(running.process.stop(), extra),
    ledAt: () => [...running.process.output().matchAll(LEADS)].at(-1)?.[1] ?? '',
    isTrusted: async () => (await scrape(running.process)).sum('cache_trusted') === 1,
    async [Symbol.asyncDispose]() {
      await (await serving).process.stop();
    },
  };
}
