import { Migration } from '@mikro-orm/migrations';

/** What watchers read: in which order message events and changes of conversations became final. See ARCHITECTURE.md, watching. */
export class ChangeLogMigration extends Migration {
  override up(): void {
    // The highest transaction id that this transaction knows of: its own, or the last one that has ended. Not a plain default: inside
    // of a function the snapshot is taken now, and not when the statement began, which may have waited for a lock since.
    this.addSql(`
      create function log_frontier() returns bigint language plpgsql volatile as $$
      begin
        return greatest(pg_current_xact_id()::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1);
      end
      $$`);
    // Constants first: they do not rewrite the table. Rows of earlier builds come before every place that a watcher can have.
    this.addSql(`
      alter table message_events add column frontier bigint not null default 0, add column position bigint not null default 0`);
    this.addSql('create sequence message_events_position owned by message_events.position');
    this.addSql(`
      alter table message_events alter column frontier set default log_frontier(),
        alter column position set default nextval('message_events_position')`);
    this.addSql('create index message_events_log on message_events (frontier, position)');

    // The addresses and the channel only of those that were deleted: they can no longer be looked up.
    this.addSql(`
      create table conversation_log (
        frontier bigint not null default log_frontier(),
        position bigint generated always as identity,
        conversation_id uuid not null,
        deleted boolean not null,
        from_key text,
        to_key text,
        channel_type text,
        logged_at timestamptz(3) not null default clock_timestamp(),
        primary key (frontier, position)
      )`);
    this.addSql(`
      create table conversation_log_pruned (
        only_row boolean primary key default true check (only_row),
        frontier bigint not null,
        position bigint not null
      )`);
    this.addSql('insert into conversation_log_pruned (frontier, position) values (0, 0)');
    this.addSql(`
      create function log_conversation() returns trigger language plpgsql as $$
      begin
        -- Also when an UPDATE changes the id: the old one is gone.
        if tg_op = 'DELETE' or (tg_op = 'UPDATE' and old.id <> new.id) then
          insert into conversation_log (conversation_id, deleted, from_key, to_key, channel_type)
          values (old.id, true, old.from_key, old.to_key, old.channel_type);
        end if;
        if tg_op <> 'DELETE' then
          insert into conversation_log (conversation_id, deleted) values (new.id, false);
        end if;
        return null;
      end
      $$`);
    this.addSql(`
      create trigger conversations_log after insert or update or delete on conversations for each row execute function log_conversation()`);
  }

  override down(): void {
    this.addSql('drop trigger conversations_log on conversations');
    this.addSql('drop function log_conversation()');
    this.addSql('drop table conversation_log, conversation_log_pruned');
    this.addSql('drop index message_events_log');
    this.addSql('alter table message_events drop column frontier, drop column position');
    this.addSql('drop function log_frontier()');
  }
}
