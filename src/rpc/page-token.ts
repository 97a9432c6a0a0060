/** Page tokens: opaque to callers, bound to the filter they were made for. */
import { createHash } from 'node:crypto';
import { type DescMessage, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { DomainError } from '../domain/errors.ts';
import type { Cursor, Page, PageRequest } from '../domain/ports.ts';

export interface PageKind {
  readonly byDefault: number;
  readonly atMost: number;
  /** Whether a text can be what the list is ordered by; PostgreSQL would refuse anything else as a failure of its own. */
  isKey(text: string): boolean;
}

function isTime(text: string): boolean {
  const date = new Date(text);
  // PostgreSQL has no year 0.
  return !Number.isNaN(date.getTime()) && date.toISOString() === text && /^(?!0000)\d{4}-/.test(text);
}

/** Ordered by a time. */
export const LIST_PAGES: PageKind = { byDefault: 50, atMost: 200, isKey: isTime };
/** Ordered by a sequence number. */
export const EVENT_PAGES: PageKind = { byDefault: 50, atMost: 200, isKey: (text) => /^\d{1,9}$/.test(text) };
/** Ordered by a rank. */
export const SEARCH_PAGES: PageKind = { byDefault: 20, atMost: 50, isKey: (text) => /^\d{1,9}\.\d{6}$/.test(text) };

export const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Digest of what must not change between pages. */
export function filterDigest<Desc extends DescMessage>(
  schema: Desc,
  filter: MessageShape<Desc> | undefined,
  ...more: readonly string[]
): string {
  const hash = createHash('sha256').update(schema.typeName);
  if (filter !== undefined) hash.update(toBinary(schema, filter));
  for (const text of more) hash.update(`\0${text}`);
  return hash.digest('base64url').slice(0, 16);
}

export function tokenInvalid(field: 'page_token' | 'resume_token', description: string): DomainError {
  return new DomainError('page_token_invalid', `${field} ${description}`, { fields: [{ field, description }] });
}

function cursorOf(token: string, digest: string, { isKey }: PageKind): Cursor {
  const [version, boundTo, key, id, ...rest] = Buffer.from(token, 'base64url').toString('utf8').split(' ');
  const wellFormed = version === 'p1' && rest.length === 0 && key !== undefined && isKey(key) && id !== undefined && UUID.test(id);
  if (!wellFormed) throw tokenInvalid('page_token', 'is malformed; pass next_page_token of the previous response unchanged');
  if (boundTo !== digest) throw tokenInvalid('page_token', 'belongs to another filter; start again without it');
  return { key, id };
}

/** Throws page_token_invalid. A page size of 0 means the default; above the limit it is lowered. */
export function pageRequestOf(
  { pageSize, pageToken }: { readonly pageSize: number; readonly pageToken: string },
  digest: string,
  kind: PageKind = LIST_PAGES,
): PageRequest {
  const size = pageSize === 0 ? kind.byDefault : Math.min(pageSize, kind.atMost);
  return pageToken === '' ? { size } : { size, after: cursorOf(pageToken, digest, kind) };
}

/** Empty on the last page. */
export function nextPageToken({ next }: Page<unknown>, digest: string): string {
  return next === undefined ? '' : Buffer.from(`p1 ${digest} ${next.key} ${next.id}`).toString('base64url');
}
