/** Streams of changes as callers follow them: what they were told, and the token to go on with. */
import type { ConnectError } from '@connectrpc/connect';
import { type Failure, failureOf } from './calls.ts';
import { until } from './until.ts';

interface Told {
  readonly resumeToken: string;
  readonly payload: { readonly case: string | undefined };
}

export interface Watcher<Item extends Told> extends AsyncDisposable {
  /** Everything so far. */
  readonly items: readonly Item[];
  /** Of the last item; empty before the first. */
  token(): string;
  /** Resolves when there is such an item. */
  sees(what: string, fact: (items: readonly Item[]) => boolean): Promise<void>;
  /** How the stream ended. Throws when that takes long. */
  failure(): Promise<Failure>;
  /** Leaves, and resolves when the stream is over. */
  leave(): Promise<void>;
}

const PATIENCE_MS = 30_000;

/** Follows what `open` opens until it is left. */
export function follow<Item extends Told>(open: (signal: AbortSignal) => AsyncIterable<Item>): Watcher<Item> {
  const items: Item[] = [];
  const leaving = new AbortController();
  const following = (async () => {
    for await (const item of open(leaving.signal)) items.push(item);
  })();
  let isOver = false;
  const over = following
    .catch((error: ConnectError) => error)
    .finally(() => {
      isOver = true;
    });
  const leave = async (): Promise<void> => {
    leaving.abort();
    await over;
  };
  return {
    items,
    token: () => items.at(-1)?.resumeToken ?? '',
    async sees(what, fact) {
      await until(what, () => fact(items) || isOver, PATIENCE_MS);
      if (!fact(items)) await following;
    },
    async failure() {
      await until('the stream ends', () => isOver, PATIENCE_MS);
      return failureOf(following);
    },
    leave,
    [Symbol.asyncDispose]: leave,
  };
}

/** Resolves when the stream has begun: whatever happens afterwards is told. */
export async function begun<Item extends Told>(watcher: Watcher<Item>): Promise<Watcher<Item>> {
  await watcher.sees('the first sign of life', (items) => items.length > 0);
  return watcher;
}
