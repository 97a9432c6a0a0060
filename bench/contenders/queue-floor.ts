/** The queue alone: one process that runs jobs which do nothing, with as many places as a lane of the service has. */
import { Logger, run } from 'graphile-worker';
import { environment } from './sources.ts';

await run({
  connectionString: environment('DATABASE_URL'),
  concurrency: Number(environment('CONCURRENCY')),
  maxPoolSize: 3,
  taskList: { nothing: async () => undefined },
  logger: new Logger(() => () => undefined),
});
