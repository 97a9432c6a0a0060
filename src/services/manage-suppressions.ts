import { type Address, type Channel, parseCorrespondent, parseEmail, parsePhone, parseSender } from '../domain/address.ts';
import type { Clock, NewId, Page, PageRequest, Store } from '../domain/ports.ts';
import { newSuppression, type SuppressionPair, suppressionSources } from '../domain/suppression.ts';
import type { SuppressionReads } from '../domain/suppression-ports.ts';
import { type SuppressionView, toSuppressionView } from '../domain/views.ts';

/** One suppression as callers name it. */
export interface SuppressionName {
  readonly channel: Channel;
  readonly address: string;
  /** Empty: the one for all of our addresses. */
  readonly fromAddress: string;
}

function pairOf({ channel, address, fromAddress }: SuppressionName, parse: (text: string, field: string) => Address): SuppressionPair {
  const ours = fromAddress.trim() === '' ? undefined : parseSender(fromAddress, channel, 'from_address');
  return { theirs: parse(address, 'address'), ours };
}

/** Opt-outs as people keep them. Every method but `list` throws address_invalid. */
export function createManageSuppressions({
  store,
  suppressions,
  clock,
  newId,
}: {
  readonly store: Store;
  readonly suppressions: SuppressionReads;
  readonly clock: Clock;
  readonly newId: NewId;
}) {
  return {
    /** Of one address, oldest first; its form decides the channel. Whoever writes to us may have written STOP. */
    async of(address: string): Promise<readonly SuppressionView[]> {
      const { channel, key } = address.includes('@') ? parseEmail(address, 'address') : parseCorrespondent(address, 'sms', 'address');
      return (await suppressions.findSuppressions(channel, key)).map(toSuppressionView);
    },

    /** Newest first. `channel` undefined: of all. */
    async list(channel: Channel | undefined, page: PageRequest): Promise<Page<SuppressionView>> {
      const { items, ...rest } = await suppressions.listSuppressions(channel, page);
      return { items: items.map(toSuppressionView), ...rest };
    },

    /** Returns the one that was there before when there was one; no longer the recipient's to lift. */
    create(name: SuppressionName): Promise<SuppressionView> {
      const pair = pairOf(name, (text, field) => (name.channel === 'email' ? parseEmail(text, field) : parsePhone(text, field)));
      const fresh = newSuppression({ id: newId(), source: 'manual', pair, messageId: null, at: clock.now() });
      return store.transaction(async (tx) => toSuppressionView(await tx.suppress(fresh)));
    },

    /** However it came about. */
    async delete(name: SuppressionName): Promise<void> {
      const pair = pairOf(name, (text, field) => parseCorrespondent(text, name.channel, field));
      await store.transaction((tx) => tx.lift(pair, suppressionSources));
    },
  };
}
