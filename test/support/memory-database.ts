/** PostgreSQL in memory, for conversations alone: test/contract/outbox.test.ts holds it against the real one. */
import { Conversation, type ConversationFields } from '../../src/domain/conversation.ts';
import type { Outbox, OutboxChange, OutboxLease, Reads, RowChange, Store, Tx } from '../../src/domain/ports.ts';
import { type ConversationView, toConversationView } from '../../src/domain/views.ts';
import type { Pause } from './memory-redis.ts';

export interface MemoryDatabase {
  /** Only conversations by id. */
  readonly reads: Reads;
  /** Its transactions add, lock, view and delete conversations; they know nothing else. */
  readonly store: Store;
  readonly outbox: Outbox;
  /** What is committed. */
  find(id: string): ConversationView | undefined;
}

interface Draft {
  /** What the transaction found; undefined when it adds the row. */
  readonly before: ConversationFields | undefined;
  /** undefined: deleted. */
  after: ConversationFields | undefined;
}

/** A row lock: whoever wants it waits for the one before. */
class Locks {
  readonly #held = new Map<string, Promise<void>>();

  async take(id: string): Promise<() => void> {
    const before = this.#held.get(id);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#held.set(
      id,
      Promise.resolve(before).then(() => promise),
    );
    await before;
    return resolve;
  }
}

const changeOf = (id: string, { before, after }: Draft): RowChange | undefined => {
  if (after === undefined) return before && { entity: 'conversation', id, version: before.version + 1, deleted: true };
  if (before !== undefined && before.title === after.title) return undefined;
  return { entity: 'conversation', id, version: after.version, deleted: false };
};

/** Only what changed since it was read counts as an update, as with the ORM. */
function raised({ before, after }: Draft): ConversationFields | undefined {
  if (before === undefined || after === undefined || before.title === after.title) return after;
  return { ...after, version: before.version + 1 };
}

const unsupported = (): never => {
  throw new Error('not in memory');
};

export function createMemoryDatabase(pause: Pause = async () => undefined): MemoryDatabase {
  const rows = new Map<string, ConversationFields>();
  const waiting = new Map<string, OutboxChange>();
  const locks = new Locks();
  let transactions = 0;
  let leased = false;
  let appliedTo = '';

  function transactionOf(drafts: Map<string, Draft>, releases: (() => void)[]): Tx {
    const viewOf = (id: string): ConversationView => {
      const draft = drafts.get(id);
      const fields = draft === undefined ? rows.get(id) : raised(draft);
      if (fields === undefined) throw new Error('a conversation vanished inside its transaction');
      return toConversationView(fields);
    };
    const known: Partial<Tx> = {
      addConversation(fresh) {
        const added = Object.assign(Object.create(Conversation.prototype), fresh) as Conversation;
        drafts.set(fresh.id, { before: undefined, after: added });
        return added;
      },
      async lockConversation(id) {
        await pause('update on its way');
        releases.push(await locks.take(id));
        const before = rows.get(id);
        if (before === undefined) return undefined;
        const locked = Object.assign(Object.create(Conversation.prototype), before) as Conversation;
        drafts.set(id, { before, after: locked });
        await pause('update on its way back');
        return locked;
      },
      async deleteConversation({ id }) {
        const draft = drafts.get(id);
        if (draft !== undefined) draft.after = undefined;
      },
      conversationView: async (id) => viewOf(id),
    };
    return new Proxy(known, { get: (tx, name) => Reflect.get(tx, name) ?? unsupported }) as Tx;
  }

  function commit(changed: readonly RowChange[], drafts: ReadonlyMap<string, Draft>): void {
    transactions += 1;
    const transactionId = String(transactions);
    for (const { entity, id, version } of changed) {
      const fields = raised(drafts.get(id) ?? { before: undefined, after: undefined });
      if (fields === undefined) rows.delete(id);
      else rows.set(id, { ...fields });
      waiting.set(`${transactionId} ${id}`, { transactionId, entity, id, version, ageMs: 0 });
    }
  }

  const lease: OutboxLease = {
    databaseIdentity: 'memory.1',
    async read(limit) {
      await pause('outbox read on its way');
      return [...waiting.values()].slice(0, limit);
    },
    async remove(changes) {
      await pause('outbox delete on its way');
      for (const { transactionId, id } of changes) waiting.delete(`${transactionId} ${id}`);
    },
    appliedTo: async () => appliedTo,
    async setAppliedTo(cache) {
      appliedTo = cache;
    },
    async [Symbol.asyncDispose]() {
      leased = false;
    },
  };

  const find = (id: string): ConversationView | undefined => {
    const fields = rows.get(id);
    return fields && toConversationView(fields);
  };
  const findConversations: Reads['findConversations'] = async (ids) => {
    await pause('select on its way');
    const found = ids.flatMap((id) => find(id) ?? []).map((view) => [view.id, view] as const);
    await pause('select on its way back');
    return { value: new Map(found), source: 'bypass', ageMs: 0 };
  };
  const reads: Partial<Reads> = {
    findConversations,
    findConversation: async (id) => ({ value: (await findConversations([id])).value.get(id), source: 'bypass', ageMs: 0 }),
  };
  return {
    find,
    reads: { ...(new Proxy(reads, { get: (known, name) => Reflect.get(known, name) ?? unsupported }) as Reads), ...reads },
    store: {
      async transaction(work, aroundCommit) {
        const drafts = new Map<string, Draft>();
        const releases: (() => void)[] = [];
        let afterCommit: (() => Promise<void>) | undefined;
        try {
          const tx = transactionOf(drafts, releases);
          const done = await work(tx);
          const changed = [...drafts].flatMap(([id, draft]) => changeOf(id, { before: draft.before, after: raised(draft) }) ?? []);
          if (changed.length > 0) afterCommit = await aroundCommit?.(changed, tx);
          await pause('commit on its way');
          commit(changed, drafts);
          for (const release of releases.splice(0)) release();
          await pause('commit on its way back');
          await afterCommit?.();
          return done;
        } finally {
          for (const release of releases) release();
        }
      },
    },
    outbox: {
      async tryLease() {
        if (leased) return undefined;
        leased = true;
        return lease;
      },
      backlog: async () => ({ rows: waiting.size, oldestMs: 0 }),
    },
  };
}
