import { Migration } from '@mikro-orm/migrations';

/** Addresses that must not be messaged. */
export class SuppressionsMigration extends Migration {
  override up(): void {
    // No reference to the message: who opted out stays so when a conversation is deleted.
    this.addSql(`
      create table suppressions (
        channel text not null check (channel in ('sms', 'email')),
        address_key text not null,
        from_key text not null default '',
        id uuid not null unique,
        address text not null,
        from_address text not null default '',
        source text not null
          check (source in ('keyword', 'unsubscribe', 'group_unsubscribe', 'spam_report', 'hard_bounce', 'provider', 'manual')),
        message_id uuid,
        created_at timestamptz(3) not null,
        primary key (channel, address_key, from_key)
      )`);
    this.addSql('create index suppressions_by_age on suppressions (channel, created_at desc, id desc)');
  }

  override down(): void {
    this.addSql('drop table suppressions');
  }
}
