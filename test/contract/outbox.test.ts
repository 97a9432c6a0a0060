import { openDatabase } from '../../src/db/database.ts';
import { createDatabase } from '../support/database.ts';
import { createMemoryDatabase } from '../support/memory-database.ts';
import { describeOutbox } from './outbox-suite.ts';

describeOutbox('the outbox of PostgreSQL', async () => {
  await using opened = new AsyncDisposableStack();
  const { url } = opened.use(await createDatabase());
  const database = opened.use(await openDatabase({ url, poolMax: 10, statementTimeoutMs: 60_000, connectTimeoutMs: 60_000 }));
  const closing = opened.move();
  return { ...database, [Symbol.asyncDispose]: () => closing.disposeAsync() };
});

describeOutbox('the outbox of its double in memory', async () => ({ ...createMemoryDatabase(), async [Symbol.asyncDispose]() {} }));
