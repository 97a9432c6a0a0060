/** What src/domain/ports.ts promises of Store and Reads, for whatever implements them. */
import { describe } from 'vitest';
import type { Open } from '../support/store-and-reads.ts';
import { describeAppends } from './appends-suite.ts';
import { describeConversationLists } from './conversation-lists-suite.ts';
import { describeCounters } from './counters-suite.ts';
import { describeMessageLists } from './message-lists-suite.ts';
import { describeRows } from './rows-suite.ts';
import { describeSearch } from './search-suite.ts';
import { describeSuppressions } from './suppressions-suite.ts';
import { describeTransactions } from './transactions-suite.ts';
import { describeUnreachable } from './unreachable-suite.ts';
import { describeVisibility } from './visibility-suite.ts';

/** `openUnreachable`: the same over a PostgreSQL that is not there. */
export function describeStoreAndReads(name: string, open: Open, openUnreachable: Open): void {
  describe(name, () => {
    describeRows(open);
    describeMessageLists(open);
    describeConversationLists(open);
    describeSearch(open);
    describeTransactions(open);
    describeSuppressions(open);
    describeAppends(open);
    describeCounters(open);
    describeVisibility(open);
    describeUnreachable(openUnreachable);
  });
}
