import type { RowRef, Store, TransactionHooks, Tx } from '../domain/ports.ts';
import { isRepeatable, toDomainError } from './errors.ts';
import type { Orm } from './orm.ts';
import { type RowReaders, rowReaders } from './rows.ts';
import { createTx } from './tx.ts';

/** Deadlocks and serialization failures in a row before the caller is told to try again. */
const MAX_ATTEMPTS = 4;

/** Rows written by a transaction, each once. */
export class ChangedRows {
  readonly #rows = new Map<string, RowRef>();

  add(entity: RowRef['entity'], id: string): void {
    this.#rows.set(`${entity}:${id}`, { entity, id });
  }

  list(): readonly RowRef[] {
    return [...this.#rows.values()];
  }
}

async function attempt<T>(orm: Orm, readers: RowReaders, work: (tx: Tx) => Promise<T>, hooks: TransactionHooks): Promise<T> {
  const changed = new ChangedRows();
  let sentCommit = false;
  let result: T;
  try {
    result = await orm.em.fork().transactional(async (em) => {
      const done = await work(createTx(em, readers, changed));
      await em.flush();
      sentCommit = true;
      return done;
    });
  } catch (error) {
    // A COMMIT without an answer may have happened: what it wrote is to be forgotten all the same.
    if (sentCommit) await hooks.afterCommit?.(changed.list());
    throw error;
  }
  await hooks.afterCommit?.(changed.list());
  return result;
}

export function createStore(orm: Orm): Store {
  const readers = rowReaders(orm);
  return {
    async transaction(work, hooks = {}) {
      for (let attempts = 1; ; attempts += 1) {
        try {
          return await attempt(orm, readers, work, hooks);
        } catch (error) {
          if (attempts === MAX_ATTEMPTS || !isRepeatable(error)) throw toDomainError(error);
        }
      }
    },
  };
}
