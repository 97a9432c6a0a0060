import { Migration } from '@mikro-orm/migrations';

/** Triggers that write every change of a cached row into an outbox, in the transaction that makes it. See ARCHITECTURE.md, cache. */
export class CacheOutboxMigration extends Migration {
  override up(): void {
    // One row per transaction and changed row. The nil id stands for all rows of the entity.
    this.addSql(`
      create table cache_outbox (
        txid xid8 not null default pg_current_xact_id(),
        entity text not null check (entity in ('message', 'conversation')),
        row_id uuid not null,
        version integer not null,
        deleted boolean not null,
        created_at timestamptz(3) not null default clock_timestamp(),
        primary key (txid, entity, row_id)
      ) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000)`);
    this.addSql(`
      create table cache_relay (
        only_row boolean primary key default true check (only_row),
        applied_to text not null
      )`);
    this.addSql(`insert into cache_relay (applied_to) values ('')`);

    this.addSql(`
      create function note_cached_row(text, uuid, integer, boolean) returns void language plpgsql as $$
      begin
        insert into cache_outbox (entity, row_id, version, deleted) values ($1, $2, $3, $4)
        on conflict (txid, entity, row_id) do update
        set version = greatest(cache_outbox.version, excluded.version), deleted = excluded.deleted;
      end
      $$`);
    this.addSql(`
      create function note_change() returns trigger language plpgsql as $$
      begin
        if tg_op = 'TRUNCATE' then
          perform note_cached_row(tg_argv[0], '00000000-0000-0000-0000-000000000000', 0, true);
          return null;
        end if;
        -- Also when an UPDATE changes the id: the old one is gone.
        if tg_op = 'DELETE' or (tg_op = 'UPDATE' and old.id <> new.id) then
          perform note_cached_row(tg_argv[0], old.id, old.version + 1, true);
        end if;
        if tg_op <> 'DELETE' then
          perform note_cached_row(tg_argv[0], new.id, new.version, false);
        end if;
        return null;
      end
      $$`);
    for (const [table, entity] of [
      ['messages', 'message'],
      ['conversations', 'conversation'],
    ]) {
      this.addSql(`
        create trigger ${table}_outbox after insert or update or delete on ${table} for each row execute function note_change('${entity}')`);
      this.addSql(
        `create trigger ${table}_outbox_all after truncate on ${table} for each statement execute function note_change('${entity}')`,
      );
    }
  }

  override down(): void {
    for (const table of ['messages', 'conversations']) {
      this.addSql(`drop trigger ${table}_outbox on ${table}`);
      this.addSql(`drop trigger ${table}_outbox_all on ${table}`);
    }
    this.addSql('drop function note_change()');
    this.addSql('drop function note_cached_row(text, uuid, integer, boolean)');
    this.addSql('drop table cache_outbox, cache_relay');
  }
}
