/** Resume tokens of watches: opaque to callers, bound to the method and to the filter they were made for. */
import { type Duration, durationMs } from '@bufbuild/protobuf/wkt';
import { resumeTokenInvalid } from '../domain/errors.ts';
import type { WatchPosition } from '../services/watch-position.ts';
import type { WatchRequest } from '../services/watch-stream.ts';
import { LIST_PAGES, UUID } from './page-token.ts';

const DEFAULT_PROGRESS_INTERVAL_MS = 30_000;

/** PostgreSQL's bigint, so that no token makes a statement fail. */
const NUMBER = /^\d{1,18}$/;
const DATABASE = /^\d{1,20}\.\d{1,10}$/;
const TIMELINE = /^[0-9A-F]{8}$/;

export type WatchKind = 'messages' | 'conversations';

const VERSIONS = { messages: 'm1', conversations: 'c1' } satisfies Record<WatchKind, string>;

export function watchToken({ origin, place, listed }: WatchPosition, kind: WatchKind, digest: string): string {
  const parts = [VERSIONS[kind], digest, origin.database, origin.timeline, place.frontier, place.position];
  return Buffer.from([...parts, ...(listed === undefined ? [] : [listed.key, listed.id])].join(' ')).toString('base64url');
}

function positionOf(token: string, kind: WatchKind, digest: string): WatchPosition {
  const [version, boundTo, ...parts] = Buffer.from(token, 'base64url').toString('utf8').split(' ');
  const [database = '', timeline = '', frontier = '', position = '', key, id = '', ...rest] = parts;
  const isPlace = DATABASE.test(database) && TIMELINE.test(timeline) && NUMBER.test(frontier) && NUMBER.test(position);
  const isListed = key === undefined || (LIST_PAGES.isKey(key) && UUID.test(id));
  if (version !== VERSIONS[kind] || !isPlace || !isListed || rest.length > 0) {
    throw resumeTokenInvalid('is malformed; pass it on unchanged');
  }
  if (boundTo !== digest) throw resumeTokenInvalid('belongs to another filter; start again without it');
  return {
    origin: { database, timeline },
    place: { frontier: BigInt(frontier), position: BigInt(position) },
    listed: key === undefined ? undefined : { key, id },
  };
}

/** What requests of both watches have in common. */
interface WatchFields {
  readonly resumeToken: string;
  readonly includeInitialState: boolean;
  readonly progressInterval?: Duration | undefined;
}

/** Throws resume_token_invalid. */
export function watchRequestOf(fields: WatchFields, kind: WatchKind, digest: string): Omit<WatchRequest<unknown>, 'filter'> {
  const { resumeToken, includeInitialState, progressInterval } = fields;
  const beginning = includeInitialState ? 'initial_state' : 'now';
  return {
    from: resumeToken === '' ? beginning : positionOf(resumeToken, kind, digest),
    progressIntervalMs: progressInterval === undefined ? DEFAULT_PROGRESS_INTERVAL_MS : durationMs(progressInterval),
  };
}
