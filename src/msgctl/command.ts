import type { MessagingClient } from '../client/messaging-client.ts';
import type { Arguments, Options } from './arguments.ts';
import type { Output } from './output.ts';

export interface Run {
  readonly args: Arguments;
  readonly output: Output;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  /** Connects with the first call. */
  readonly client: MessagingClient;
  readonly address: string;
}

export interface Command {
  /** Its words, e.g. `cache warm`. */
  readonly name: string;
  /** Positional arguments, as in `--help`. */
  readonly takes?: string;
  readonly about: string;
  /** What else a person should know before running it. */
  readonly more?: string;
  readonly options?: Options;
  /** Ctrl-C is how it ends. */
  readonly endless?: boolean;
  /** Throws UsageError before it has done anything; Failed, or the client's error. */
  readonly run: (run: Run) => Promise<void>;
}

/** The work was done, and something is wrong; the message says what. */
export class Failed extends Error {
  override readonly name = 'Failed';
}
