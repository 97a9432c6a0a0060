/** Which errors of PostgreSQL pass by themselves: callers are told to try again, and watchers wait. */
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { toDomainError } from '../../src/db/errors.ts';
import { DomainError } from '../../src/domain/errors.ts';
import { createDatabase } from '../support/database.ts';

const failure = (code: string) => Object.assign(new Error('as PostgreSQL says it'), { code });

describe('an error of PostgreSQL', () => {
  it.each([
    ['admin_shutdown', '57P01'],
    ['query_canceled, the statement timeout', '57014'],
    ['too_many_connections', '53300'],
    ['read_only_sql_transaction: what was the primary takes no writes', '25006'],
    ['object_not_in_prerequisite_state: a standby has no write-ahead log of its own to ask about', '55000'],
  ])('is storage_unavailable: %s', (_, code) => {
    expect(toDomainError(failure(code))).toMatchObject({ code: 'storage_unavailable' });
    // As the ORM and the pool pass it on.
    expect(toDomainError(new Error('wrapped', { cause: failure(code) }))).toMatchObject({ code: 'storage_unavailable' });
  });

  it('is storage_unavailable when the connection was closed because of an earlier statement', async () => {
    await using database = await createDatabase();
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const ended = client.end();
    const error = await client.query('rollback').catch((thrown: unknown) => thrown);
    expect(toDomainError(error)).toMatchObject({ code: 'storage_unavailable' });
    await ended;
  });

  it.each([
    ['unique_violation', '23505'],
    ['undefined_table', '42P01'],
    ['object_in_use', '55006'],
  ])('stays what it is, a bug: %s', (_, code) => {
    expect(toDomainError(failure(code))).not.toBeInstanceOf(DomainError);
  });
});
