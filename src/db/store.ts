import type { AroundCommit, Store, Tx } from '../domain/ports.ts';
import { dispatchStatements } from './dispatch-statements.ts';
import { isRepeatable, toDomainError } from './errors.ts';
import type { Orm } from './orm.ts';
import { changesOfTransaction } from './outbox.ts';
import { rowReaders, rowWriters, type Tables } from './rows.ts';
import { createTx, messageInsertion, type TxStatements } from './tx.ts';
import { webhookInsertion } from './webhook-tx.ts';

/** Deadlocks and serialization failures in a row before the caller is told to try again. */
const MAX_ATTEMPTS = 4;

async function attempt<T>(
  orm: Orm,
  statements: TxStatements,
  work: (tx: Tx) => Promise<T>,
  aroundCommit: AroundCommit | undefined,
): Promise<T> {
  let afterCommit: (() => Promise<void>) | undefined;
  const result = await orm.em.fork().transactional(async (em) => {
    const tx = createTx(em, statements);
    const done = await work(tx);
    await em.flush();
    if (aroundCommit !== undefined) {
      // From the outbox, so that cascades, triggers and native statements count too. Fails when the transaction has failed unnoticed.
      const changed = await changesOfTransaction(em.getKysely<Tables>());
      if (changed.length > 0) afterCommit = await aroundCommit(changed, tx);
    }
    return done;
  });
  await afterCommit?.();
  return result;
}

export function createStore(orm: Orm): Store {
  const [readers, writers] = [rowReaders(orm), rowWriters(orm)];
  const statements: TxStatements = {
    readers,
    writers,
    insertMessage: messageInsertion(writers),
    dispatch: dispatchStatements(writers, readers),
    insertWebhook: webhookInsertion(writers.webhookRequest),
  };
  return {
    async transaction(work, aroundCommit) {
      for (let attempts = 1; ; attempts += 1) {
        try {
          return await attempt(orm, statements, work, aroundCommit);
        } catch (error) {
          if (attempts === MAX_ATTEMPTS || !isRepeatable(error)) throw toDomainError(error);
        }
      }
    },
  };
}
