import type { CachedEntity } from '../domain/ports.ts';

/** The names of everything this service keeps in Redis. */
export interface CellKeys {
  readonly prefix: string;
  readonly entities: readonly CachedEntity[];
  readonly watermark: string;
  of(entity: CachedEntity, id: string): string;
  /** For SCAN: all keys of the entity. */
  patternOf(entity: CachedEntity): string;
}

/** `prefix` tells deployments that share one Redis apart. */
export function cellKeys(prefix: string): CellKeys {
  const literal = prefix.replace(/[\\*?[\]]/g, '\\$&');
  return {
    prefix,
    entities: ['message', 'conversation'],
    watermark: `${prefix}cache:watermark`,
    of: (entity, id) => `${prefix}${entity}:${id}`,
    patternOf: (entity) => `${literal}${entity}:*`,
  };
}
