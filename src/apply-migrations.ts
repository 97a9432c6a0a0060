/** `make migrate`, and the migration Job of deploy/kubernetes: brings the schema up to date and names the migrations it applied. */
import { ConfigError, readMigrationConfig } from './config.ts';
import { migrate } from './migrate.ts';

try {
  const applied = await migrate(readMigrationConfig());
  for (const name of applied) console.log(`applied ${name}`);
  if (applied.length === 0) console.log('The schema is up to date.');
} catch (error) {
  console.error(error instanceof ConfigError ? error.message : error);
  process.exitCode = 1;
}
