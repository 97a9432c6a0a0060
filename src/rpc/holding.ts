/** What each connection makes us hold: requests that are not whole, and answers that are not taken. */
import type { Call } from './call.ts';
import type { Connection } from './connection.ts';

export interface Holding {
  /** Requests of which the end is missing. */
  unfinished: number;
  /** Those of them that are no longer part of a burst. */
  oldUnfinished: number;
  /** For how long these have been so, together. */
  oldUnfinishedMs: number;
  /** Answers, or items of streams, that have not been taken for a while. */
  unread: number;
  /** Of all of these. */
  bytes: number;
}

export interface Calls {
  readonly running: Iterable<Call>;
  /** Those of them whose answers are not taken. */
  readonly waiting: Iterable<Call>;
  /** On the patient clock. */
  readonly patientNow: number;
}

/** A burst brings all heads first, then the bodies. */
const OLD_MS = 250;

export const nothing = (): Holding => ({ unfinished: 0, oldUnfinished: 0, oldUnfinishedMs: 0, unread: 0, bytes: 0 });

const lengthOf = (fields: readonly string[]): number => fields.reduce((sum, { length }) => sum + length, 0);

/** Notes at each connection what it makes us hold now. */
export function weigh(connections: Iterable<Connection>, { running, waiting, patientNow }: Calls): void {
  for (const connection of connections) connection.holding = nothing();
  for (const { connection } of waiting) connection.holding.unread += 1;
  for (const { stream, rawHeaders, body, told, patientMs, connection } of running) {
    const { holding } = connection;
    holding.bytes += stream.writableLength + (body?.bytes ?? stream.readableLength);
    if (stream.readableEnded || told !== undefined) continue;
    holding.unfinished += 1;
    holding.bytes += lengthOf(rawHeaders);
    const unfinishedMs = patientNow - patientMs;
    if (unfinishedMs <= OLD_MS) continue;
    holding.oldUnfinished += 1;
    holding.oldUnfinishedMs += unfinishedMs;
  }
}
