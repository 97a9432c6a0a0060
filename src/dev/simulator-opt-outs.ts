/** Twilio's Advanced Opt-Out: words that stop and start messages to a number. */

export type OptOutType = 'STOP' | 'START' | 'HELP';

const WORDS: ReadonlyMap<string, OptOutType> = new Map<string, OptOutType>([
  ...['STOP', 'STOPALL', 'UNSUBSCRIBE', 'CANCEL', 'END', 'QUIT', 'OPTOUT', 'REVOKE'].map((word) => [word, 'STOP'] as const),
  ...['START', 'YES', 'UNSTOP'].map((word) => [word, 'START'] as const),
  ...['HELP', 'INFO'].map((word) => [word, 'HELP'] as const),
]);

const MAX_OPT_OUTS = 100_000;

export class OptOuts {
  readonly #pairs = new Set<string>();

  /** undefined: an ordinary message. */
  apply(body: string, ours: string, theirs: string): OptOutType | undefined {
    const type = WORDS.get(body.trim().toUpperCase());
    const pair = `${ours} ${theirs}`;
    if (type === 'STOP' && this.#pairs.size < MAX_OPT_OUTS) this.#pairs.add(pair);
    if (type === 'START') this.#pairs.delete(pair);
    return type;
  }

  has(ours: string, theirs: string): boolean {
    return this.#pairs.has(`${ours} ${theirs}`);
  }
}
