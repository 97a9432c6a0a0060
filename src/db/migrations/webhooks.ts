import { Migration } from '@mikro-orm/migrations';

/** Requests of providers, as they came: to be tried again, replayed and looked at. They are kept for 30 days. */
export class WebhooksMigration extends Migration {
  override up(): void {
    this.addSql(`
      create table webhook_requests (
        id uuid primary key,
        endpoint text not null check (endpoint in ('twilio_status', 'twilio_inbound', 'sendgrid_events', 'sendgrid_inbound')),
        provider text not null check (provider in ('twilio', 'sendgrid')),
        path text not null,
        content_type text not null,
        body bytea not null check (octet_length(body) <= 1048576),
        truncated boolean not null default false,
        state text not null check (state in ('received', 'processed', 'unmatched', 'quarantined')),
        error text not null default '',
        tries integer not null default 0,
        received_at timestamptz(3) not null,
        processed_at timestamptz(3)
      )`);
    // Lists and pruning name a value for both columns before the time, see db/first-in-order.ts.
    this.addSql('create index webhook_requests_by_state on webhook_requests (provider, state, received_at desc, id desc)');
  }

  override down(): void {
    this.addSql('drop table webhook_requests');
  }
}
