import { isRecorded } from '../telemetry/trace.ts';
import type { Ask } from './ask.ts';
import type { CellCommands } from './cell-commands.ts';

/** Asks for cells; undefined on any trouble. */
export type ReadCell = (key: string) => Promise<Buffer | null | undefined>;

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

/**
 * Puts the questions of many callers into one command: most of the price of a command is its way through the client and the socket.
 * A call that is recorded asks by itself, so that its trace shows its own command.
 */
export function createCellReader({ ask, commands, entity, afterTurn }: CellReaderOptions): ReadCell {
  const { getMany } = commands;
  const askAlone: ReadCell = (key) => ask('get', entity, () => commands.get(key));
  if (getMany === undefined) return askAlone;
  let gathering: Batch | undefined;

  function open(): Batch {
    const keys: string[] = [];
    const { promise: replies, resolve } = Promise.withResolvers<readonly (Buffer | null)[] | undefined>();
    const batch: Batch = { keys, places: new Map(), replies };
    gathering = batch;
    afterTurn(() => {
      if (gathering === batch) gathering = undefined;
      resolve(ask('get', entity, () => (getMany as NonNullable<typeof getMany>)(keys)));
    });
    return batch;
  }

  return async (key) => {
    if (isRecorded()) return askAlone(key);
    const batch = gathering ?? open();
    let place = batch.places.get(key);
    if (place === undefined) {
      place = batch.keys.push(key) - 1;
      batch.places.set(key, place);
      if (place + 1 === MAX_KEYS) gathering = undefined;
    }
    const replies = await batch.replies;
    return replies?.[place];
  };
}
