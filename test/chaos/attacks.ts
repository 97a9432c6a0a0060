/** What is done to the service. */

import type { Seen, Target } from './attack-connection.ts';
import { callAttacks } from './attacks-calls.ts';
import { connectionAttacks } from './attacks-connections.ts';
import { frameAttacks } from './attacks-frames.ts';
import { http1Attacks } from './attacks-http1.ts';

export interface Attack {
  readonly name: string;
  /** At the port that speaks TLS. */
  readonly secure?: boolean;
  /** Why it does no harm though nothing happens to it. */
  readonly harmless?: string;
  /** Goes on until it is told to stop; never rejects. */
  run(target: Target, seen: Seen, signal: AbortSignal): Promise<void>;
}

export const attacks: readonly Attack[] = [...frameAttacks, ...connectionAttacks, ...callAttacks, ...http1Attacks];
