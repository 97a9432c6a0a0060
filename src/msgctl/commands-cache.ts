/** cache stats, inspect, warm, invalidate. */
import { durationMs } from '@bufbuild/protobuf/wkt';
import {
  CachedEntity,
  GetCacheStatisticsResponseSchema,
  InspectCacheEntryResponse_Kind,
  InspectCacheEntryResponseSchema,
  InvalidateCacheResponseSchema,
  WarmCacheResponseSchema,
} from '../client/messaging-client.ts';
import { type Arguments, namesOf, UsageError } from './arguments.ts';
import { showCacheStatistics } from './cache-statistics.ts';
import { type Command, Failed } from './command.ts';
import { words } from './message-text.ts';
import { jsonOf } from './output.ts';
import { showProgress } from './progress.ts';

const ENTITY = namesOf(CachedEntity).join('|');

function entityOf({ positionals }: Arguments): { readonly entity: CachedEntity; readonly ids: readonly string[] } {
  const [name, ...ids] = positionals;
  if (name === undefined) throw new UsageError(`${ENTITY} is missing.`);
  if (!namesOf(CachedEntity).includes(name)) throw new UsageError(`${name}: must be one of ${namesOf(CachedEntity).join(', ')}.`);
  return { entity: name === 'message' ? CachedEntity.MESSAGE : CachedEntity.CONVERSATION, ids };
}

const stats: Command = {
  name: 'cache stats',
  about: 'what the cache did, and how Redis is',
  async run({ client, args, output, signal }) {
    args.exactly();
    const statistics = await client.cache.getCacheStatistics({}, { signal });
    if (output.json) output.document(jsonOf(GetCacheStatisticsResponseSchema, statistics));
    else showCacheStatistics(output, statistics);
  },
};

const milliseconds = (duration: Parameters<typeof durationMs>[0] | undefined): string =>
  duration === undefined ? '' : `${durationMs(duration)} ms`;

const inspect: Command = {
  name: 'cache inspect',
  takes: `${ENTITY} ID`,
  about: 'one entry, compared with its row',
  async run({ client, args, output, signal }) {
    const { entity } = entityOf(args);
    const [, id = ''] = args.exactly(ENTITY, 'ID');
    const entry = await client.cache.inspectCacheEntry({ entity, id }, { signal });
    if (output.json) output.document(jsonOf(InspectCacheEntryResponseSchema, entry));
    else {
      const isValue = entry.kind === InspectCacheEntryResponse_Kind.VALUE;
      output.fields({
        key: entry.key,
        kind: words(InspectCacheEntryResponse_Kind[entry.kind]),
        'cached version': isValue ? String(entry.cachedVersion) : '',
        'row version': entry.rowVersion === 0n ? 'no such row' : String(entry.rowVersion),
        'equal to the row': isValue ? (entry.equal ? 'yes' : 'NO') : '',
        bytes: entry.bytes === 0n ? '' : String(entry.bytes),
        'expires in': milliseconds(entry.ttl),
        age: milliseconds(entry.age),
      });
    }
  },
};

const warm: Command = {
  name: 'cache warm',
  takes: ENTITY,
  about: 'load the hottest and newest rows into the cache ahead of reads',
  more: 'Ctrl-C stops it and prints the token with which --resume-token goes on. With --json each line is a WarmCacheResponse.',
  options: {
    count: { value: 'N', about: 'how many rows; 10000' },
    rate: { value: 'N', about: 'rows a second at most; the default of the service when not given' },
    'resume-token': { value: 'TOKEN', about: 'go on after this one; with the same count' },
  },
  async run({ client, args, output, signal }) {
    const { entity } = entityOf(args);
    args.exactly(ENTITY);
    const request = {
      entity,
      count: args.integer('count', 1, 1_000_000) ?? 10_000,
      rate: args.integer('rate', 1, 1_000_000) ?? 0,
      resumeToken: args.text('resume-token') ?? '',
    };
    let token = request.resumeToken;
    let loaded: string | undefined;
    try {
      using progress = showProgress('rows', output.json, process.stderr);
      for await (const item of client.cache.warmCache(request, { signal })) {
        token = item.resumeToken;
        if (item.doneAt !== undefined) loaded = `${item.loaded} of ${item.examined} rows were not in the cache and are now.`;
        if (output.json) output.jsonLine(jsonOf(WarmCacheResponseSchema, item));
        progress.update(Number(item.examined), Number(item.total), `${item.loaded} loaded`);
      }
    } finally {
      if (loaded === undefined && token !== '')
        output.note(`To go on: msgctl cache warm ${words(CachedEntity[entity])} --count ${request.count} --resume-token ${token}`);
    }
    if (loaded === undefined) throw new Failed('The service ended the work before it was done.');
    if (!output.json) output.line(loaded);
  },
};

const invalidate: Command = {
  name: 'cache invalidate',
  takes: `${ENTITY} [ID...]`,
  about: 'drop entries; the next reads load them again',
  options: { all: { about: 'every entry of the entity, in place of ids' } },
  async run({ client, args, output, signal }) {
    const { entity, ids } = entityOf(args);
    const all = args.flag('all');
    if (all === ids.length > 0) throw new UsageError('Give either ids or --all.');
    const response = await client.cache.invalidateCache({ entity, ids: [...ids], all }, { signal });
    if (output.json) output.document(jsonOf(InvalidateCacheResponseSchema, response));
    else output.line(`${response.dropped} dropped.`);
  },
};

export const cacheCommands: readonly Command[] = [stats, inspect, warm, invalidate];
