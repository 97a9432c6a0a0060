/** The cache: does it answer, is it coherent, does Redis keep up. */
import { type DashboardSpec, of, orZero, quantiles, rateOf } from './dashboard-panels.ts';

const GETS = 'operation="get"';
const HITS = `${GETS},result=~"hit|hit_local|negative"`;

export const cacheDashboard: DashboardSpec = {
  uid: 'messaging-cache',
  title: 'Messaging: cache',
  description: 'Whether reads come from the cache, and whether they may.',
  rows: [
    {
      title: 'Now',
      panels: [
        {
          title: 'Hit ratio',
          question: 'How many reads does the cache answer? Below 80 % something is to be gained; below 50 % something is wrong.',
          unit: 'percentunit',
          stat: true,
          queries: [
            {
              expr: `sum(rate(${of('cache_operations_total', HITS)}[$__range])) / sum(rate(${of('cache_operations_total', GETS)}[$__range]))`,
              legend: 'hits',
            },
          ],
          warnAt: 0.8,
          badAt: 0.5,
          lowIsBad: true,
        },
        {
          title: 'Wrong answers found',
          question: 'Did sampled hits differ from their row? Must be 0: anything else is a defect, or a disabled trigger.',
          unit: 'none',
          stat: true,
          queries: [{ expr: `sum(increase(${of('cache_verify_total', 'result="mismatch"')}[$__range]))`, legend: 'mismatch' }],
          badAt: 1,
        },
        {
          title: 'Trusted by',
          question: 'How many processes may answer from the cache? All but those without Redis in their configuration should.',
          unit: 'none',
          stat: true,
          queries: [
            { expr: `sum(${of('cache_trusted')})`, legend: 'trust it' },
            { expr: `count(${of('cache_trusted')})`, legend: 'processes' },
          ],
          width: 8,
        },
        {
          title: 'Waits to be told',
          question: 'How many changes does the cache not know of yet, and for how long? Seconds mean that nobody relays.',
          unit: 'none',
          stat: true,
          queries: [
            { expr: `max(${of('cache_outbox_waiting_rows')})`, legend: 'rows' },
            { expr: `max(${of('cache_outbox_waiting_seconds')})`, legend: 'seconds' },
          ],
          warnAt: 300,
          badAt: 10_000,
          width: 8,
        },
      ],
    },
    {
      title: 'Reads',
      panels: [
        {
          title: 'Where reads are answered',
          question: 'hit: Redis. hit_local: memory. negative: known not to exist. miss, bypass and error: PostgreSQL.',
          unit: 'ops',
          queries: [{ expr: `sum by (result) (${rateOf('cache_operations_total', GETS)})`, legend: '{{result}}' }],
          stacked: true,
        },
        {
          title: 'Hit ratio by entity',
          question: 'Are messages or conversations read past the cache?',
          unit: 'percentunit',
          queries: [
            {
              expr: `sum by (entity) (${rateOf('cache_operations_total', HITS)}) / sum by (entity) (${rateOf('cache_operations_total', GETS)})`,
              legend: '{{entity}}',
            },
          ],
          warnAt: 0.8,
          badAt: 0.5,
          lowIsBad: true,
        },
        {
          title: 'Bypassed and failed',
          question: 'Are reads sent past Redis, or does it fail them? All of them: not trusted, or the breaker is open.',
          unit: 'ops',
          queries: [
            {
              expr: `sum by (result) (${rateOf('cache_operations_total', `${GETS},result=~"bypass|error"`)})`,
              legend: '{{result}}',
            },
          ],
        },
        {
          title: 'Redis answers in',
          question: 'How long does Redis take? A read waits REDIS_COMMAND_TIMEOUT_MS (50 ms) at most.',
          unit: 's',
          queries: quantiles('cache_operation_duration_seconds', '', ['operation']),
          badAt: 0.05,
        },
        {
          title: 'Stores',
          question:
            'What becomes of values that are put into the cache? refused: somebody wrote meanwhile, and the value would have been old.',
          unit: 'ops',
          queries: [
            {
              expr: orZero(`sum by (result) (${rateOf('cache_operations_total', 'operation="set"')})`, 'result', 'none'),
              legend: '{{result}}',
            },
          ],
        },
        {
          title: 'Size of values',
          question: 'How large is what is stored? Large values cost Redis memory; from CACHE_COMPRESS_FROM_BYTES up they are compressed.',
          unit: 'bytes',
          queries: quantiles('cache_value_bytes', '', ['entity']),
        },
      ],
    },
    {
      title: 'Coherence',
      panels: [
        {
          title: 'Trust and breaker',
          question: 'Does each process answer from the cache (1), or pass it by? The breaker opens when Redis does not answer.',
          unit: 'short',
          queries: [
            { expr: of('cache_trusted'), legend: 'trusted {{instance}}' },
            { expr: of('cache_breaker_open'), legend: 'breaker open {{instance}}' },
          ],
        },
        {
          title: 'Age of changes when the relay tells them',
          question: 'How late does the cache hear of changes that SQL from outside, or a writer that died, has made?',
          unit: 's',
          queries: [
            { expr: `max(${of('cache_relay_lag_seconds')})`, legend: 'oldest in a pass' },
            { expr: `max(${of('cache_outbox_waiting_seconds')})`, legend: 'oldest that waits' },
          ],
          badAt: 2,
        },
        {
          title: 'Changes in the outbox',
          question: 'Does the relay keep up? Rows that stay mean that nobody relays, or that Redis is too slow for it.',
          unit: 'short',
          queries: [
            { expr: `max(${of('cache_outbox_rows')})`, legend: 'in the last pass' },
            { expr: `max(${of('cache_outbox_waiting_rows')})`, legend: 'waiting' },
          ],
          badAt: 10_000,
        },
        {
          title: 'What writes did to entries',
          question:
            'stored and dropped are as it should be. failed: Redis did not answer the writer in time, and the relay has to tell it.',
          unit: 'ops',
          queries: [
            { expr: `sum by (outcome) (${rateOf('cache_settles_total')})`, legend: '{{outcome}}' },
            { expr: `sum(${rateOf('cache_mark_failures_total')})`, legend: 'marks not confirmed' },
          ],
        },
        {
          title: 'Hits compared with their row',
          question: 'Is the cache checked, and what came of it? superseded: the row had changed meanwhile.',
          unit: 'ops',
          queries: [{ expr: `sum by (result) (${rateOf('cache_verify_total')})`, legend: '{{result}}' }],
        },
        {
          title: 'Times it was emptied',
          question: 'Does Redis, or PostgreSQL, change under it? Once for each fail-over or restart is right.',
          unit: 'short',
          queries: [{ expr: `sum by (instance) (increase(${of('cache_epoch_flushes_total')}[$__rate_interval]))`, legend: '{{instance}}' }],
          warnAt: 3,
        },
      ],
    },
  ],
};
