import { Migration } from '@mikro-orm/migrations';

/** Attempts at delivery, and indexes for what waits and what was given up. The queue's own tables are jobs/queue-schema.ts's. */
export class DeliveryMigration extends Migration {
  override up(): void {
    this.addSql(`
      create table delivery_attempts (
        id uuid primary key,
        message_id uuid not null references messages (id) on delete cascade,
        attempt integer not null check (attempt > 0),
        provider text not null check (provider in ('twilio', 'sendgrid')),
        outcome text not null
          check (outcome in ('running', 'accepted', 'rejected', 'transient', 'credentials', 'unknown', 'given_up')),
        provider_message_id text,
        failure jsonb,
        superseded boolean not null default false,
        trace_parent text not null default '',
        started_at timestamptz(3) not null,
        settled_at timestamptz(3),
        unique (message_id, attempt)
      )`);
    // Not unique: a provider that repeats an id must not undo the record of what was sent. messages_by_provider_id is.
    this.addSql(`
      create index delivery_attempts_by_provider_id on delivery_attempts (provider, provider_message_id)
      where provider_message_id is not null`);
    // Whose locks in the queue still count: a process that was killed unlocks nothing.
    this.addSql(`create table queue_workers (pool_id text primary key, seen_at timestamptz(3) not null)`);
    this.addSql(`
      create index messages_pending on messages (conversation_id, sequence) where status = 'pending' and direction = 'outbound'`);
    this.addSql(`
      create index messages_waiting on messages (provider, created_at) where status = 'pending' and direction = 'outbound'`);
    // What delivery gave up without a verdict of the provider: people decide whether to send it again.
    this.addSql(`
      create view dead_letters as
      select id as message_id, conversation_id, provider, message_type, failure ->> 'reason' as reason, attempt_count, failed_at
      from messages
      where status = 'failed' and failure ->> 'reason' in ('expired', 'attempts_exhausted', 'outcome_unknown')`);
    this.addSql(`
      create index messages_dead on messages (failed_at desc)
      where status = 'failed' and failure ->> 'reason' in ('expired', 'attempts_exhausted', 'outcome_unknown')`);
  }

  override down(): void {
    this.addSql('drop view dead_letters');
    this.addSql('drop index messages_dead, messages_waiting, messages_pending');
    this.addSql('drop table delivery_attempts, queue_workers');
  }
}
