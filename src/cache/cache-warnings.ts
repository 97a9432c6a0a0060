/** What an operator should change, in words. */
import type { CacheState } from '../domain/ports.ts';

const USE_LFU = 'use allkeys-lfu';

function ofPolicy(policy: string): readonly string[] {
  const setting = `maxmemory-policy ${policy}`;
  if (policy === 'noeviction')
    return [`${setting}: once memory is full, writes fail: marks are not set and nothing more is cached; ${USE_LFU}`];
  if (policy === 'volatile-ttl') return [`${setting}: evicts what ends soonest, and that is the write marks first of all; ${USE_LFU}`];
  if (!policy.startsWith('volatile-')) return [];
  return [`${setting}: evicts what has a time to live, write marks among it, before anything else in this Redis; ${USE_LFU}`];
}

/** Empty when all is well. */
export function cacheWarnings({ trusted, memory, backlog }: Pick<CacheState, 'trusted' | 'memory' | 'backlog'>): readonly string[] {
  return [
    ...(memory === undefined ? ['Redis cannot be reached; PostgreSQL answers every read'] : []),
    ...(trusted ? [] : ['the cache is not trusted, for want of a current watermark of the relay; PostgreSQL answers every read']),
    ...(backlog === undefined ? ['PostgreSQL cannot be reached; how far the relay is behind is not known'] : []),
    ...(memory?.maxBytes === 0 ? ['maxmemory 0: Redis takes memory until the machine has none; set a limit'] : []),
    ...(memory?.evictionPolicy.split(', ').flatMap(ofPolicy) ?? []),
  ];
}
