import { PassThrough } from 'node:stream';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { expect, it } from 'vitest';
import { GetCacheStatisticsResponseSchema } from '../../gen/messaging/v1/cache_service_pb.js';
import { showCacheStatistics } from '../../src/msgctl/cache-statistics.ts';
import { createOutput } from '../../src/msgctl/output.ts';

function shown(statistics: MessageInitShape<typeof GetCacheStatisticsResponseSchema>): string {
  const stdout = new PassThrough() as unknown as NodeJS.WriteStream;
  showCacheStatistics(createOutput(false, stdout, stdout), create(GetCacheStatisticsResponseSchema, statistics));
  return String(stdout.read());
}

it.each([
  ['unknown when Redis cannot be reached', {}, 'unknown'],
  ['without a limit', { redisUsedBytes: 2_097_152n, redisEvictionPolicy: 'noeviction' }, '2.0 MiB of unlimited, noeviction'],
  [
    'of its limit',
    { redisUsedBytes: 524_288n, redisMaxBytes: 268_435_456n, redisEvictionPolicy: 'allkeys-lfu' },
    '512 KiB of 256.0 MiB, allkeys-lfu',
  ],
])('the memory of Redis is %s', (_, statistics, text) => {
  expect(shown(statistics)).toMatch(new RegExp(`^Redis memory +${text}$`, 'm'));
});
