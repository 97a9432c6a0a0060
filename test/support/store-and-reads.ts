import { afterAll, beforeAll } from 'vitest';
import type { Page, PageRequest, Reads, Store } from '../../src/domain/ports.ts';
import type { SuppressionReads } from '../../src/domain/suppression-ports.ts';

/** One implementation of the ports over an empty database. */
export interface StoreAndReads {
  readonly store: Store;
  readonly reads: Reads;
  readonly suppressions: SuppressionReads;
}

export type Open = () => Promise<StoreAndReads & AsyncDisposable>;

/** One implementation for all tests of the present `describe`. */
export function openForAll(open: Open): StoreAndReads {
  let opened: (StoreAndReads & AsyncDisposable) | undefined;
  beforeAll(async () => {
    opened = await open();
  });
  afterAll(() => opened?.[Symbol.asyncDispose]());
  const current = (): StoreAndReads => {
    if (opened === undefined) throw new Error('it is open only while tests run');
    return opened;
  };
  return {
    get store() {
      return current().store;
    },
    get reads() {
      return current().reads;
    },
    get suppressions() {
      return current().suppressions;
    },
  };
}

/** More pages than any list of a test has; a cursor that does not advance meets it. */
const MAX_PAGES = 500;

/** Every item of a list, page by page. `between` runs after each page but the last. */
export async function allPages<T>(
  list: (page: PageRequest) => Promise<Page<T>>,
  size: number,
  between: () => Promise<unknown> = async () => undefined,
): Promise<readonly T[]> {
  const items: T[] = [];
  let page = await list({ size });
  for (let pages = 1; pages < MAX_PAGES; pages += 1) {
    if (page.items.length > size) throw new Error('a page is larger than asked for');
    items.push(...page.items);
    if (page.next === undefined) return items;
    if (page.items.length < size) throw new Error('a page before the last is not full');
    await between();
    page = await list({ size, after: page.next });
  }
  throw new Error('the list does not end');
}

/** A promise and the means to fulfil it: for transactions that meet each other. */
export function signal(): { readonly given: Promise<void>; give(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { given: promise, give: () => resolve() };
}
