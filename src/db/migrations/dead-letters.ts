import { Migration } from '@mikro-orm/migrations';

/** An index for lists of FAILED messages by reason. It serves the view dead_letters too, whose own index it replaces. */
export class DeadLettersMigration extends Migration {
  override up(): void {
    this.addSql(`
      create index messages_failed on messages ((failure ->> 'reason'), created_at desc, id desc) where status = 'failed'`);
    this.addSql('drop index messages_dead');
  }

  override down(): void {
    this.addSql(`
      create index messages_dead on messages (failed_at desc)
      where status = 'failed' and failure ->> 'reason' in ('expired', 'attempts_exhausted', 'outcome_unknown')`);
    this.addSql('drop index messages_failed');
  }
}
