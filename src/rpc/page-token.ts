/** Page tokens: opaque to callers, bound to the filter they were made for. */
import { createHash } from 'node:crypto';
import { type DescMessage, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { DomainError } from '../domain/errors.ts';
import type { Cursor, Page, PageRequest } from '../domain/ports.ts';

export interface PageLimits {
  readonly byDefault: number;
  readonly atMost: number;
}

export const LIST_PAGES: PageLimits = { byDefault: 50, atMost: 200 };
export const SEARCH_PAGES: PageLimits = { byDefault: 20, atMost: 50 };

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** What lists are ordered by: a time, a number. */
const KEY = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z|\d{1,15}(\.\d{1,6})?)$/;

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

function invalid(description: string): DomainError {
  return new DomainError('page_token_invalid', `page_token ${description}`, { fields: [{ field: 'page_token', description }] });
}

function cursorOf(token: string, digest: string): Cursor {
  const [version, boundTo, key, id, ...rest] = Buffer.from(token, 'base64url').toString('utf8').split(' ');
  const wellFormed = version === 'p1' && rest.length === 0 && key !== undefined && KEY.test(key) && id !== undefined && UUID.test(id);
  if (!wellFormed) throw invalid('is malformed; pass next_page_token of the previous response unchanged');
  if (boundTo !== digest) throw invalid('belongs to another filter; start again without it');
  return { key, id };
}

/** Throws page_token_invalid. A page size of 0 means the default; above the limit it is lowered. */
export function pageRequestOf(
  { pageSize, pageToken }: { readonly pageSize: number; readonly pageToken: string },
  digest: string,
  limits: PageLimits = LIST_PAGES,
): PageRequest {
  const size = pageSize === 0 ? limits.byDefault : Math.min(pageSize, limits.atMost);
  return pageToken === '' ? { size } : { size, after: cursorOf(pageToken, digest) };
}

/** Empty on the last page. */
export function nextPageToken({ next }: Page<unknown>, digest: string): string {
  return next === undefined ? '' : Buffer.from(`p1 ${digest} ${next.key} ${next.id}`).toString('base64url');
}
