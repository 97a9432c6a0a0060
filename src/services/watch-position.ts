import { DomainError, resumeTokenInvalid } from '../domain/errors.ts';
import { isAfter, LOG_START, type LogPlace } from '../domain/log-place.ts';
import type { Cursor } from '../domain/ports.ts';
import type { LogMoment, LogOrigin, LogReader } from '../domain/watch-ports.ts';

/** Where a stream is: what a resume token says. */
export interface WatchPosition {
  readonly origin: LogOrigin;
  /** Everything up to here has been told. */
  readonly place: LogPlace;
  /** The last item of the initial state that has been told; undefined: all of it. */
  readonly listed: Cursor | undefined;
}

const expired = (why: string) => new DomainError('resume_token_expired', `resume_token ${why}; start again with include_initial_state`);
const invalid = () => resumeTokenInvalid('belongs to another database; start again without it');

/**
 * Whether what is behind a place can be told, all of it and in order. Returns the origin to compare with from now on. Throws
 * resume_token_invalid, resume_token_expired, storage_unavailable.
 */
export async function verifyPlace(
  log: Pick<LogReader<unknown>, 'has'>,
  origin: LogOrigin,
  place: LogPlace,
  moment: LogMoment,
): Promise<LogOrigin> {
  if (moment.origin.database !== origin.database) throw invalid();
  // After a failover transaction ids may be given out again, but only those after the last one that the new primary has got.
  if (moment.origin.timeline !== origin.timeline && !(await log.has(place))) throw expired('is from before a failover that lost its place');
  if (place.frontier >= moment.horizon && isAfter(place, LOG_START)) throw invalid();
  if (isAfter(moment.begin, place)) throw expired('is older than what is kept');
  return moment.origin;
}
