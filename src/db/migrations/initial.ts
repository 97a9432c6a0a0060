import { Migration } from '@mikro-orm/migrations';

/** Tables, constraints, indexes for every list query, and the trigger that raises `version`. */
export class InitialMigration extends Migration {
  override up(): void {
    this.addSql(`
      create table conversations (
        id uuid primary key,
        participant_from text not null,
        participant_to text not null,
        from_key text not null,
        to_key text not null,
        channel_type text not null check (channel_type in ('sms', 'email')),
        status text not null default 'active' check (status in ('active', 'archived', 'closed')),
        thread boolean not null default false,
        message_count integer not null default 0 check (message_count >= 0),
        unread_count integer not null default 0 check (unread_count >= 0),
        last_sequence integer not null default 0,
        title text not null default '',
        meta_data jsonb not null default '{}',
        last_read_message_id uuid,
        last_read_sequence integer not null default 0,
        last_message_at timestamptz(3),
        created_at timestamptz(3) not null default now(),
        updated_at timestamptz(3) not null default now(),
        version integer not null default 1,
        active_at timestamptz(3) generated always as (coalesce(last_message_at, created_at)) stored,
        search tsvector generated always as (
          setweight(to_tsvector('simple', title), 'A') ||
          setweight(to_tsvector('simple', participant_from || ' ' || participant_to), 'B') ||
          setweight(to_tsvector('simple', translate(participant_from || ' ' || participant_to, '@.+-_', '     ')), 'C')
        ) stored
      )`);
    this.addSql(`
      create table messages (
        id uuid primary key,
        conversation_id uuid not null references conversations (id) on delete cascade,
        provider text check (provider in ('twilio', 'sendgrid')),
        provider_message_id text,
        direction text not null check (direction in ('inbound', 'outbound')),
        status text not null check (status in ('pending', 'sent', 'delivered', 'failed')),
        message_type text not null check (message_type in ('sms', 'mms', 'email')),
        from_address text not null,
        to_address text not null,
        body text not null default '',
        attachments jsonb not null default '[]',
        email jsonb,
        segmentation jsonb,
        failure jsonb,
        meta_data jsonb not null default '{}',
        parent_id uuid,
        created_by text not null default '',
        sequence integer not null,
        attempt_count integer not null default 0,
        sent_at timestamptz(3),
        delivered_at timestamptz(3),
        failed_at timestamptz(3),
        send_at timestamptz(3),
        expire_at timestamptz(3),
        next_attempt_at timestamptz(3),
        created_at timestamptz(3) not null default now(),
        updated_at timestamptz(3) not null default now(),
        version integer not null default 1,
        search tsvector generated always as (
          to_tsvector('simple', left(coalesce(email ->> 'subject', '') || ' ' || body, 100000))
        ) stored
      )`);
    this.addSql(`
      create table message_events (
        id uuid primary key,
        message_id uuid not null references messages (id) on delete cascade,
        conversation_id uuid not null,
        sequence integer not null,
        type text not null,
        status_before text,
        status_after text not null,
        provider text,
        provider_status text not null default '',
        provider_event_id text,
        failure jsonb,
        attempt integer not null default 0,
        occurred_at timestamptz(3),
        recorded_at timestamptz(3) not null default now()
      )`);
    this.addSql(`
      create table request_ids (
        caller text not null,
        request_id uuid not null,
        content_hash text not null,
        resource_id uuid not null,
        created_at timestamptz(3) not null,
        primary key (caller, request_id)
      )`);

    this.addSql(`
      create unique index conversations_open on conversations (channel_type, from_key, to_key)
      where status <> 'closed' and not thread`);
    // Lists name a value for every column before the time, see db/first-in-order.ts, so few indexes serve all filters.
    this.addSql('create index conversations_by_activity on conversations (status, channel_type, active_at desc, id desc)');
    this.addSql('create index conversations_by_our_side on conversations (from_key, status, active_at desc, id desc)');
    this.addSql('create index conversations_by_their_side on conversations (to_key, status, active_at desc, id desc)');
    this.addSql(`
      create index conversations_unread on conversations (status, channel_type, active_at desc, id desc) where unread_count > 0`);
    this.addSql('create index conversations_search on conversations using gin (search)');

    this.addSql(
      'create unique index messages_by_provider_id on messages (provider, provider_message_id) where provider_message_id is not null',
    );
    // None by time alone: PostgreSQL would walk through it for any filter whose rows it takes for frequent.
    this.addSql('create index messages_by_conversation on messages (conversation_id, created_at desc, id desc)');
    this.addSql('create index messages_by_kind on messages (status, direction, message_type, created_at desc, id desc)');
    this.addSql('create index messages_by_from on messages (lower(from_address), created_at desc, id desc)');
    this.addSql('create index messages_by_to on messages (lower(to_address), created_at desc, id desc)');
    this.addSql('create index messages_by_parent on messages (parent_id, created_at desc, id desc) where parent_id is not null');
    this.addSql(`create index messages_inbound on messages (conversation_id, sequence) where direction = 'inbound'`);
    this.addSql('create index messages_search on messages using gin (search)');

    this.addSql('create index message_events_by_message on message_events (message_id, sequence)');
    this.addSql('create unique index message_events_by_sequence on message_events (conversation_id, sequence)');
    this.addSql(`
      create unique index message_events_by_provider_id on message_events (provider, provider_event_id)
      where provider_event_id is not null`);
    this.addSql('create index request_ids_by_age on request_ids (created_at)');

    // Versions order all writes of a row, whoever made them: the row lock is held when the trigger runs.
    this.addSql(`
      create function raise_version() returns trigger language plpgsql as $$
      begin
        new.version := old.version + 1;
        new.updated_at := greatest(clock_timestamp(), old.updated_at);
        return new;
      end
      $$`);
    for (const table of ['messages', 'conversations']) {
      this.addSql(`create trigger ${table}_version before update on ${table} for each row execute function raise_version()`);
    }
  }

  override down(): void {
    this.addSql('drop table message_events, messages, conversations, request_ids');
    this.addSql('drop function raise_version()');
  }
}
