/** What a stream that reads by itself may hold while its caller takes nothing: so much of a page is kept, the rest is read again. */
export const MAX_HELD = 20;
const MAX_HELD_BYTES = 1_024 * 1_024;

/** The first of these that may be held: one at least, however large it is. `bytesOf`: about as much memory as it takes. */
export function firstHeld<Item>(items: readonly Item[], bytesOf: (item: Item) => number): readonly Item[] {
  let bytes = 0;
  const end = items.slice(0, MAX_HELD).findIndex((item, index) => {
    bytes += bytesOf(item);
    return index > 0 && bytes > MAX_HELD_BYTES;
  });
  return items.slice(0, end === -1 ? MAX_HELD : end);
}

/** Of meta_data as JSON. */
export function jsonLength(value: object | undefined): number {
  return value === undefined ? 0 : JSON.stringify(value).length;
}
