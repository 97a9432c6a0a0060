/**
 * The place of an entry in a log: ordered by frontier, then by position. Entries of one conversation come in the order in which they were
 * written, and none appears before one that a reader has seen.
 */
export interface LogPlace {
  /** A transaction id: the highest that the writer knew of. */
  readonly frontier: bigint;
  readonly position: bigint;
}

export interface Placed {
  readonly place: LogPlace;
}

/** Before every entry. */
export const LOG_START: LogPlace = { frontier: 0n, position: 0n };

export function isAfter(place: LogPlace, other: LogPlace): boolean {
  return place.frontier > other.frontier || (place.frontier === other.frontier && place.position > other.position);
}

export function latestOf(place: LogPlace, other: LogPlace): LogPlace {
  return isAfter(other, place) ? other : place;
}
