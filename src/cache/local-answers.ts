/** Answers that this process remembers: for callers who accept old ones, and to know an unchanged cell again without decoding it. */
import { LRUCache } from 'lru-cache';
import type { CacheTier } from '../domain/ports.ts';

export interface LocalAnswer<View> {
  /** undefined: there was no such row. */
  readonly view: View | undefined;
  /** Where the row belonged when it was decoded; only counted by. */
  readonly tier: CacheTier | undefined;
  /** The cell it was decoded from; undefined when PostgreSQL answered. */
  readonly cell: { readonly bytes: Buffer; readonly version: number; readonly expiresAtMs: number } | undefined;
  /** When the latest coherent read that gave it began: it was current then, and may have been overtaken since. */
  knownAtMs: number;
}

export interface LocalAnswers<View> {
  find(id: string): LocalAnswer<View> | undefined;
  remember(id: string, answer: LocalAnswer<View>): void;
  /** Most recently used first. */
  ids(): Iterable<string>;
}

/** An entry without its payload, in bytes; measured on messages, most of it objects and the headers of three buffers. */
const OVERHEAD_BYTES = 1_600;
/** Of an answer that did not come from a cell. */
const PRESUMED_BYTES = 1_024;
/** The cell, what was decoded from it, and what was encoded of that for callers. */
const COPIES = 3;

/** Replies are slices of larger buffers, and so are small copies, of Node's pool: either would keep 64 KB for each cell. */
function ownBytes(bytes: Buffer): Buffer {
  const own = Buffer.allocUnsafeSlow(bytes.byteLength);
  bytes.copy(own);
  return own;
}

/** `maxBytes` 0: remembers nothing. */
export function createLocalAnswers<View>(maxBytes: number): LocalAnswers<View> {
  if (maxBytes === 0) return { find: () => undefined, remember: () => undefined, ids: () => [] };
  const answers = new LRUCache<string, LocalAnswer<View>>({
    maxSize: maxBytes,
    sizeCalculation: ({ cell }) => OVERHEAD_BYTES + COPIES * (cell?.bytes.byteLength ?? PRESUMED_BYTES),
  });
  return {
    find: (id) => answers.get(id),
    remember(id, answer) {
      const known = answers.peek(id);
      // A slow reader must not replace what a later one has found.
      if (known !== undefined && known.knownAtMs > answer.knownAtMs) return;
      const { cell } = answer;
      answers.set(id, cell === undefined ? answer : { ...answer, cell: { ...cell, bytes: ownBytes(cell.bytes) } });
    },
    ids: () => answers.keys(),
  };
}
