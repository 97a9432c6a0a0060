/** What the protocol does not promise: stricter promises that it is known to break. Whoever closes one of these gaps takes it off the list. */
import type { Mutant } from './mutants.ts';
import { coherent } from './protocol.ts';
import { evictions } from './scenarios.ts';

export const limits: readonly Mutant[] = [
  {
    // A reader may lease and load before the COMMIT and fill after it. Over when the writer settles, so never stale once acknowledged.
    name: 'backward reads after a mark was evicted',
    violation: 'was returned',
    scenario: { ...evictions, returned: 'all' },
    protocol: coherent,
  },
];
