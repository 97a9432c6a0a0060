/** The load generator seen from the process that measures. */
import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import { repositoryFolder } from '../src/dev/data-folder.ts';
import type { Order, Reply, RequestSet, Window, WindowResult } from './load.ts';

export interface Load extends Disposable {
  remember(set: RequestSet): Promise<void>;
  /** Throws when a single request failed. */
  run(window: Window): Promise<WindowResult>;
}

type Unnumbered = { readonly kind: 'requests'; readonly set: RequestSet } | { readonly kind: 'window'; readonly window: Window };

function asker(child: ChildProcess): (order: Unnumbered) => Promise<Reply> {
  const waiting = new Map<number, PromiseWithResolvers<Reply>>();
  child.on('message', (reply: Reply) => {
    waiting.get(reply.number)?.resolve(reply);
    waiting.delete(reply.number);
  });
  child.on('exit', (code) => {
    for (const { reject } of waiting.values()) reject(new Error(`the load generator ended with code ${code}`));
  });
  let number = 0;
  return (order) => {
    number += 1;
    const reply = Promise.withResolvers<Reply>();
    waiting.set(number, reply);
    child.send({ ...order, number } satisfies Order);
    return reply.promise;
  };
}

export function startLoad(): Load {
  const child = fork(join(repositoryFolder, 'bench/load.ts'), { serialization: 'advanced' });
  const ask = asker(child);
  return {
    async remember(set) {
      const { error } = await ask({ kind: 'requests', set });
      if (error !== undefined) throw new Error(error);
    },
    async run(window) {
      const { result, error } = await ask({ kind: 'window', window });
      if (result === undefined) throw new Error(error ?? 'no result');
      if (result.failed > 0) throw new Error(`${window.path} (${window.requestSet}): ${result.failed} failed: ${result.failure}`);
      return result;
    },
    [Symbol.dispose]: () => void child.kill(),
  };
}
