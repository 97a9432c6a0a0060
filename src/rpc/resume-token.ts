/** Tokens to go on with an interrupted WarmCache: opaque to callers, bound to the entity. */
import type { CachedEntity } from '../domain/ports.ts';
import type { WarmPosition } from '../services/warm-cache.ts';
import { LIST_PAGES, tokenInvalid, UUID } from './page-token.ts';

const COUNT = /^\d{1,9}$/;

/** Throws page_token_invalid. undefined: from the start. */
export function warmPositionOf(token: string, entity: CachedEntity): WarmPosition | undefined {
  if (token === '') return undefined;
  const [version, boundTo, ...parts] = Buffer.from(token, 'base64url').toString('utf8').split(' ');
  const [examined = '', loaded = '', recent = '', key, id, ...rest] = parts;
  const isAfterRow = key !== undefined && LIST_PAGES.isKey(key) && id !== undefined && UUID.test(id);
  const wellFormed = version === 'w1' && [examined, loaded, recent].every((count) => COUNT.test(count)) && rest.length === 0;
  if (!wellFormed || (key !== undefined && !isAfterRow)) throw tokenInvalid('resume_token', 'is malformed; pass it on unchanged');
  if (boundTo !== entity) throw tokenInvalid('resume_token', 'belongs to another entity; start again without it');
  const after = isAfterRow ? { key, id } : undefined;
  return { examined: Number(examined), loaded: Number(loaded), recent: Number(recent), after };
}

/** Empty when there is nothing left to do. */
export function resumeToken(position: WarmPosition | undefined, entity: CachedEntity): string {
  if (position === undefined) return '';
  const { examined, loaded, recent, after } = position;
  const parts = ['w1', entity, examined, loaded, recent, ...(after === undefined ? [] : [after.key, after.id])];
  return Buffer.from(parts.join(' ')).toString('base64url');
}
