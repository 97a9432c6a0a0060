/** Delivery: do messages reach their provider, do its reports come back. */
import { type DashboardSpec, of, orZero, quantiles, rateOf } from './dashboard-panels.ts';

export const deliveryDashboard: DashboardSpec = {
  uid: 'messaging-delivery',
  title: 'Messaging: delivery',
  description: 'Whether messages reach their recipients, and what providers tell of them.',
  rows: [
    {
      title: 'Now',
      panels: [
        {
          title: 'Late or given up, last hour',
          question:
            'How many messages were not accepted by their provider within 60 s of being due? The objective allows 1 % over 30 days.',
          unit: 'percentunit',
          stat: true,
          queries: [{ expr: 'job:delivery_late:ratio_rate1h{job=~"$job"}', legend: '{{job}}' }],
          warnAt: 0.01,
          badAt: 0.144,
        },
        {
          title: 'Due and waiting',
          question: 'How many messages are PENDING and due?',
          unit: 'none',
          stat: true,
          queries: [{ expr: `max by (provider) (${of('delivery_queue_depth')})`, legend: '{{provider}}' }],
          warnAt: 1_000,
          badAt: 5_000,
          width: 6,
        },
        {
          title: 'Oldest that waits',
          question: 'For how long has the oldest of them been due?',
          unit: 's',
          stat: true,
          queries: [{ expr: `max by (provider) (${of('delivery_queue_oldest_seconds')})`, legend: '{{provider}}' }],
          warnAt: 60,
          badAt: 300,
          width: 6,
        },
        {
          title: 'Given up',
          question: 'How many messages did we give up without a verdict of their provider? select * from dead_letters names them.',
          unit: 'none',
          stat: true,
          queries: [{ expr: `sum by (reason) (increase(${of('delivery_dead_letters_total')}[$__range]))`, legend: '{{reason}}' }],
          warnAt: 1,
          width: 8,
        },
      ],
    },
    {
      title: 'Out',
      panels: [
        {
          title: 'Submissions by outcome',
          question: 'What do providers say? transient is repeated; unknown never; credentials: they refuse ours.',
          unit: 'ops',
          queries: [{ expr: `sum by (provider, outcome) (${rateOf('delivery_attempts_total')})`, legend: '{{provider}} {{outcome}}' }],
          stacked: true,
        },
        {
          title: 'Queue',
          question: 'Do messages pile up? A campaign may take minutes; what is old is what counts.',
          unit: 'short',
          queries: [{ expr: `max by (provider) (${of('delivery_queue_depth')})`, legend: '{{provider}}' }],
          warnAt: 1_000,
          badAt: 5_000,
        },
        {
          title: 'Oldest that waits',
          question: 'Are messages late? The alert waits for 5 minutes.',
          unit: 's',
          queries: [{ expr: `max by (provider) (${of('delivery_queue_oldest_seconds')})`, legend: '{{provider}}' }],
          warnAt: 60,
          badAt: 300,
        },
        {
          title: 'From SendMessage to the provider',
          question: 'How long until a provider has accepted a message? The objective is 60 s for 99 %; some milliseconds are usual.',
          unit: 's',
          queries: quantiles('delivery_duration_seconds', 'stage="accepted"', ['message_type']),
          badAt: 60,
        },
        {
          title: 'From SendMessage to the recipient',
          question: 'How long until a provider reports a message delivered? Mostly a matter of carriers and mail servers.',
          unit: 's',
          queries: quantiles('delivery_duration_seconds', 'stage="delivered"', ['message_type']),
        },
        {
          title: 'Budget of late messages: how fast it burns',
          question: 'Does the share of late messages stay below what the alerts wait for? 1 % spends the budget in 30 days.',
          unit: 'percentunit',
          queries: ['5m', '1h', '6h', '3d'].map((window) => ({
            expr: `job:delivery_late:ratio_rate${window}{job=~"$job"}`,
            legend: window,
          })),
          warnAt: 0.01,
          badAt: 0.144,
        },
        {
          title: 'Answers that were lost',
          question: 'Of how many submissions does nobody know what became of them? Each may end as OUTCOME_UNKNOWN.',
          unit: 'ops',
          queries: [
            {
              expr: `sum by (provider, outcome) (${rateOf('delivery_attempts_total', 'outcome=~"unknown|given_up"')})`,
              legend: '{{provider}} {{outcome}}',
            },
          ],
        },
        {
          title: 'Given up',
          question: 'Do messages fail without a verdict of their provider, and why?',
          unit: 'ops',
          queries: [
            {
              expr: `sum by (provider, reason) (${rateOf('delivery_dead_letters_total')})`,
              legend: '{{provider}} {{reason}}',
            },
          ],
        },
        {
          title: 'Not sent for an opt-out',
          question: 'How many messages are for people who want none? send: the caller was told. dispatch: they opted out in between.',
          unit: 'ops',
          queries: [{ expr: `sum by (where) (${rateOf('delivery_suppressed_total')})`, legend: '{{where}}' }],
        },
      ],
    },
    {
      title: 'In',
      panels: [
        {
          title: 'Webhook requests',
          question: 'Do reports and messages come in?',
          unit: 'ops',
          queries: [{ expr: `sum by (endpoint) (${rateOf('webhook_requests_total')})`, legend: '{{endpoint}}' }],
          stacked: true,
        },
        {
          title: 'Webhook requests that were not applied',
          question: 'failed: answered 503. forbidden: bad signature. quarantined: stored, for somebody to look at. unmatched: tried again.',
          unit: 'ops',
          queries: [
            {
              expr: `sum by (result) (${rateOf('webhook_requests_total', 'result!="applied"')})`,
              legend: '{{result}}',
            },
          ],
        },
        {
          title: 'Events in them',
          question: 'What came of single reports and messages? duplicate is normal: providers repeat.',
          unit: 'ops',
          queries: [
            {
              expr: orZero(`sum by (provider, result) (${rateOf('webhook_events_total')})`, 'result', 'none'),
              legend: '{{provider}} {{result}}',
            },
          ],
        },
      ],
    },
  ],
};
