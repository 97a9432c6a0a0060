/** What opt-outs need of a transaction, and of the database outside of one. */
import type { Channel } from './address.ts';
import type { Page, PageRequest } from './ports.ts';
import type { SuppressionFields, SuppressionPair, SuppressionSource } from './suppression.ts';

export interface SuppressionTx {
  /**
   * Returns the one that is in force: the older one when the pair has one already, with the source and message of the fresh one when the
   * recipient could lift the older one and not the fresh one.
   */
  suppress(fresh: SuppressionFields): Promise<SuppressionFields>;
  /** Removes the one of exactly this pair, when it came about in one of these ways. */
  lift(pair: SuppressionPair, sources: readonly SuppressionSource[]): Promise<void>;
}

/** Every method throws storage_unavailable when PostgreSQL cannot answer. Suppressions are not cached. */
export interface SuppressionReads {
  /** Of one address, oldest first, at most 1,000. */
  findSuppressions(channel: Channel, addressKey: string): Promise<readonly SuppressionFields[]>;
  /** What forbids messages to an address from one of ours, be it for all of ours or for this one; the older of two. */
  findSuppression(channel: Channel, addressKey: string, fromKey: string): Promise<SuppressionFields | undefined>;
  /** Newest first. `channel` undefined: of all. */
  listSuppressions(channel: Channel | undefined, page: PageRequest): Promise<Page<SuppressionFields>>;
}
