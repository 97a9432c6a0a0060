/** What the service stands on: PostgreSQL, Redis, the providers, and its own processes. */
import { type DashboardSpec, of, quantiles, rateOf } from './dashboard-panels.ts';

export const dependenciesDashboard: DashboardSpec = {
  uid: 'messaging-dependencies',
  title: 'Messaging: dependencies',
  description: 'PostgreSQL, Redis, providers, and the Node processes.',
  rows: [
    {
      title: 'PostgreSQL and Redis',
      panels: [
        {
          title: 'Do they answer?',
          question: 'Does each process reach PostgreSQL and Redis (1)? Without PostgreSQL it is not ready; without Redis only slower.',
          unit: 'short',
          queries: [{ expr: of('dependency_up'), legend: '{{dependency}} {{instance}}' }],
        },
        {
          title: 'PostgreSQL connections',
          question: 'Are all connections of the pool (DATABASE_POOL_MAX) in use?',
          unit: 'short',
          queries: [{ expr: `sum by (instance, state) (${of('db_client_connections')})`, legend: '{{state}} {{instance}}' }],
        },
        {
          title: 'Callers that wait for a connection',
          question: 'Is the pool too small, or are statements slow? Above 0 for minutes: look at pg_stat_activity.',
          unit: 'short',
          queries: [{ expr: of('db_client_pending_requests'), legend: '{{instance}}' }],
          warnAt: 1,
          badAt: 10,
        },
        {
          title: 'Redis answers in',
          question: 'Is Redis, or the network to it, slow?',
          unit: 's',
          queries: quantiles('cache_operation_duration_seconds', 'operation="get"'),
          badAt: 0.05,
        },
        {
          title: 'Redis breaker',
          question: 'Which processes pass Redis by (1) because it does not answer?',
          unit: 'short',
          queries: [{ expr: of('cache_breaker_open'), legend: '{{instance}}' }],
          badAt: 1,
        },
        {
          title: 'Writes that Redis did not confirm',
          question: 'Does Redis keep up with writers?',
          unit: 'ops',
          queries: [
            { expr: `sum(${rateOf('cache_settles_total', 'outcome="failed"')})`, legend: 'settles' },
            { expr: `sum(${rateOf('cache_mark_failures_total')})`, legend: 'marks' },
          ],
        },
      ],
    },
    {
      title: 'Providers',
      panels: [
        {
          title: 'They answer in',
          question: 'How long do Twilio and SendGrid take? The wait ends at PROVIDER_TIMEOUT_MS, and then nobody knows.',
          unit: 's',
          queries: quantiles('provider_request_duration_seconds', 'operation="submit"', ['provider']),
          warnAt: 2.5,
          badAt: 10,
        },
        {
          title: 'Breakers',
          question: 'Which processes do not ask a provider (1), because it does not answer or refuses our credentials?',
          unit: 'short',
          queries: [{ expr: of('provider_breaker_open'), legend: '{{provider}} {{instance}}' }],
          badAt: 1,
        },
        {
          title: 'Refused for now, and refused us',
          question: 'transient: throttled, unavailable, no connection. credentials: the key or token is not theirs.',
          unit: 'ops',
          queries: [
            {
              expr: `sum by (provider, outcome) (${rateOf('delivery_attempts_total', 'outcome=~"transient|credentials"')})`,
              legend: '{{provider}} {{outcome}}',
            },
          ],
        },
      ],
    },
    {
      title: 'Processes',
      panels: [
        {
          title: 'CPU',
          question: 'Is a process at its limit? JavaScript uses one core; 1 is full.',
          unit: 'percentunit',
          queries: [{ expr: rateOf('process_cpu_seconds_total'), legend: '{{instance}}' }],
          warnAt: 0.8,
          badAt: 1,
        },
        {
          title: 'Memory',
          question: 'Does a process hold more and more?',
          unit: 'bytes',
          queries: [
            { expr: of('process_resident_memory_bytes'), legend: 'resident {{instance}}' },
            { expr: of('nodejs_heap_size_used_bytes'), legend: 'heap {{instance}}' },
          ],
        },
        {
          title: 'Event loop lag',
          question: 'Is everything in a process held up? 10 ms are the resolution of the measurement.',
          unit: 's',
          queries: [
            { expr: of('nodejs_eventloop_lag_p99_seconds'), legend: 'p99 {{instance}}' },
            { expr: of('nodejs_eventloop_lag_p50_seconds'), legend: 'p50 {{instance}}' },
          ],
          warnAt: 0.1,
          badAt: 0.2,
        },
        {
          title: 'Garbage collection',
          question: 'How much of the time stands still for it? See NODE_OPTIONS=--max-semi-space-size=4 in README, speed.',
          unit: 'percentunit',
          queries: [{ expr: `sum by (instance, kind) (${rateOf('nodejs_gc_duration_seconds_sum')})`, legend: '{{kind}} {{instance}}' }],
          warnAt: 0.1,
        },
        {
          title: 'Open files and sockets',
          question: 'Do connections leak? They grow with callers and fall with them.',
          unit: 'short',
          queries: [{ expr: of('process_open_fds'), legend: '{{instance}}' }],
        },
        {
          title: 'Running for',
          question: 'Was a process restarted? A line that falls to 0 is a start.',
          unit: 's',
          queries: [{ expr: `time() - ${of('process_start_time_seconds')}`, legend: '{{instance}}' }],
        },
      ],
    },
  ],
};
