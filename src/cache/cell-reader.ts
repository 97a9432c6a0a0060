import { withClientSpan, withoutSpans } from '../telemetry/trace.ts';
import type { Ask } from './ask.ts';
import type { CellCommands } from './cell-commands.ts';

/** The answers of one command, undefined on any trouble, and the place of the one that was asked for among them. */
export interface CellQuestion {
  readonly replies: Promise<readonly (Buffer | null)[] | undefined>;
  readonly place: number;
}

export interface CellReader {
  /** Asks for the cell under a key. */
  ask(key: string): CellQuestion;
  /** The same for a call that is recorded: its trace shows the command. */
  askTraced(key: string): CellQuestion;
}

/** The questions of one turn of the event loop; each is answered by what Redis held after the last of them was asked. */
interface Batch {
  readonly keys: string[];
  /** Of each key in `keys`: a hot one is asked for once. */
  readonly places: Map<string, number>;
  readonly replies: Promise<readonly (Buffer | null)[] | undefined>;
}

/** A longer command would keep Redis from others. */
const MAX_KEYS = 200;

export interface CellReaderOptions {
  readonly ask: Ask;
  readonly commands: CellCommands;
  readonly entity: Parameters<Ask>[1];
  /** Calls back when what is ready now has run. */
  readonly afterTurn: (work: () => void) => void;
}

/** Puts the questions of many callers into one command: most of the price of a command is its way through the client and the socket. */
export function createCellReader({ ask, commands, entity, afterTurn }: CellReaderOptions): CellReader {
  const { getMany } = commands;
  if (getMany === undefined) {
    const askAlone = (key: string): CellQuestion => ({ replies: ask('get', entity, async () => [await commands.get(key)]), place: 0 });
    return { ask: askAlone, askTraced: askAlone };
  }
  const askTogether = getMany;
  let gathering: Batch | undefined;

  function open(): Batch {
    const keys: string[] = [];
    const { promise: replies, resolve } = Promise.withResolvers<Awaited<CellQuestion['replies']>>();
    const batch: Batch = { keys, places: new Map(), replies };
    gathering = batch;
    afterTurn(() => {
      if (gathering === batch) gathering = undefined;
      resolve(ask('get', entity, () => askTogether(keys)));
    });
    return batch;
  }

  function join(key: string, { keys, places, replies }: Batch): CellQuestion {
    const known = places.get(key);
    if (known !== undefined) return { replies, place: known };
    const place = keys.push(key) - 1;
    places.set(key, place);
    if (keys.length === MAX_KEYS) gathering = undefined;
    return { replies, place };
  }

  return {
    ask: (key) => join(key, gathering ?? open()),
    askTraced(key) {
      // It is not the command of this call alone.
      const { replies, place } = join(key, gathering ?? withoutSpans(open));
      return { replies: withClientSpan('redis', 'mget', replies), place };
    },
  };
}
