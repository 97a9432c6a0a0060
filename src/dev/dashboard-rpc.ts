/** Calls: do they succeed, are they quick, who is open. */
import { type DashboardSpec, of, orZero, quantiles, rateOf } from './dashboard-panels.ts';

const UNARY = 'grpc_type="unary",grpc_service=~"messaging\\\\..+"';
const OURS = 'grpc_code=~"UNKNOWN|DEADLINE_EXCEEDED|INTERNAL|UNAVAILABLE|DATA_LOSS"';
const READS = 'rpc_method=~".+/(GetMessage|GetConversation|BatchGetMessages|BatchGetConversations)"';
const WRITES =
  'rpc_method=~".+/(SendMessage|BatchSendMessages|CreateConversation|UpdateConversation|MarkConversationRead|ReceiveMessage|ReportDelivery)"';

const objective = (record: string, window: string) => ({ expr: `${record}:ratio_rate${window}{job=~"$job"}`, legend: window });

export const rpcDashboard: DashboardSpec = {
  uid: 'messaging-rpc',
  title: 'Messaging: calls',
  description: 'Whether callers get answers, and how fast.',
  rows: [
    {
      title: 'Objectives',
      panels: [
        {
          title: 'Alerts that fire',
          question: 'Is anything wrong? The runbook, deploy/RUNBOOK.md, has a section for each alert.',
          unit: 'none',
          stat: true,
          queries: [{ expr: 'count(ALERTS{alertstate="firing",job=~"$job"}) or vector(0)', legend: 'firing' }],
          badAt: 1,
        },
        {
          title: 'Failed by our fault, last hour',
          question:
            'How many unary calls ended with UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE or DATA_LOSS? The objective allows 0.1 % over 30 days.',
          unit: 'percentunit',
          stat: true,
          queries: [{ expr: 'job:rpc_errors:ratio_rate1h{job=~"$job"}', legend: '{{job}}' }],
          warnAt: 0.001,
          badAt: 0.0144,
        },
        {
          title: 'Slow reads, last hour',
          question: 'How many reads of single rows took longer than 25 ms? The objective allows 1 % over 30 days.',
          unit: 'percentunit',
          stat: true,
          queries: [{ expr: 'job:rpc_slow_reads:ratio_rate1h{job=~"$job"}', legend: '{{job}}' }],
          warnAt: 0.01,
          badAt: 0.144,
        },
        {
          title: 'Slow other calls, last hour',
          question: 'How many writes, lists and other unary calls took longer than 250 ms? The objective allows 1 % over 30 days.',
          unit: 'percentunit',
          stat: true,
          queries: [{ expr: 'job:rpc_slow_calls:ratio_rate1h{job=~"$job"}', legend: '{{job}}' }],
          warnAt: 0.01,
          badAt: 0.144,
        },
        {
          title: 'Processes that answer',
          question: 'Do all processes that Prometheus knows of answer it?',
          unit: 'none',
          stat: true,
          queries: [
            { expr: `sum(${of('up')})`, legend: 'up' },
            { expr: `count(${of('up')})`, legend: 'known' },
          ],
          width: 8,
        },
        {
          title: 'Budget of errors: how fast it burns',
          question:
            'Does the share of failed calls stay below what the alerts wait for? 0.1 % spends the budget in 30 days, 1.44 % in two.',
          unit: 'percentunit',
          queries: ['5m', '1h', '6h', '3d'].map((window) => objective('job:rpc_errors', window)),
          warnAt: 0.001,
          badAt: 0.0144,
          width: 12,
        },
        {
          title: 'Budget of slow calls: how fast it burns',
          question: 'Does the share of slow calls stay below what the alerts wait for? 1 % spends the budget in 30 days, 14.4 % in two.',
          unit: 'percentunit',
          queries: ['5m', '1h'].flatMap((window) => [
            { expr: `job:rpc_slow_reads:ratio_rate${window}{job=~"$job"}`, legend: `reads ${window}` },
            { expr: `job:rpc_slow_calls:ratio_rate${window}{job=~"$job"}`, legend: `others ${window}` },
          ]),
          warnAt: 0.01,
          badAt: 0.144,
          width: 12,
        },
      ],
    },
    {
      title: 'Load and errors',
      panels: [
        {
          title: 'Calls by method',
          question: 'What is the service asked, and how often?',
          unit: 'ops',
          queries: [{ expr: `sum by (grpc_method) (${rateOf('grpc_server_started_total')})`, legend: '{{grpc_method}}' }],
          stacked: true,
        },
        {
          title: 'Calls that did not end with OK',
          question: 'Which codes do callers get? INVALID_ARGUMENT, NOT_FOUND and FAILED_PRECONDITION are answers to what they asked.',
          unit: 'ops',
          queries: [
            {
              expr: orZero(`sum by (grpc_code) (${rateOf('grpc_server_handled_total', 'grpc_code!="OK"')})`, 'grpc_code', 'none'),
              legend: '{{grpc_code}}',
            },
          ],
        },
        {
          title: 'Failures by our fault, by method',
          question: 'Which methods fail? One alone points to its statement, all of them to PostgreSQL or to the process.',
          unit: 'ops',
          queries: [
            {
              expr: orZero(`sum by (grpc_method) (${rateOf('grpc_server_handled_total', `${UNARY},${OURS}`)})`, 'grpc_method', 'none'),
              legend: '{{grpc_method}}',
            },
          ],
          badAt: 1,
        },
        {
          title: 'Calls under way',
          question: 'Do calls pile up? Streams count for as long as they are open.',
          unit: 'short',
          queries: [
            {
              expr: `sum by (grpc_type) (${of('grpc_server_started_total')}) - (sum by (grpc_type) (${of('grpc_server_handled_total')}) or 0 * sum by (grpc_type) (${of('grpc_server_started_total')}))`,
              legend: '{{grpc_type}}',
            },
          ],
        },
        {
          title: 'Open watches',
          question: 'How many watchers are there? A process refuses more than 10,000 of a kind.',
          unit: 'short',
          queries: [{ expr: `sum by (instance, kind) (${of('watch_streams')})`, legend: '{{kind}} {{instance}}' }],
          warnAt: 8_000,
          badAt: 10_000,
        },
        {
          title: 'Connections that the service closed',
          question:
            'Does a peer misbehave, or does a limit meet honest ones? ARCHITECTURE.md, hostile peers, lists the reasons; unused is normal.',
          unit: 'ops',
          queries: [{ expr: `sum by (reason) (${rateOf('grpc_connections_closed_total')})`, legend: '{{reason}}' }],
          warnAt: 0.5,
        },
        {
          title: 'Certificate: time left',
          question: 'When does the certificate of the gRPC port end? The alert comes 14 days before. Servers without TLS show none.',
          unit: 's',
          queries: [
            {
              expr: `min by (instance) (${of('tls_certificate_not_after_timestamp_seconds')}) - time()`,
              legend: '{{instance}}',
            },
          ],
        },
        {
          title: 'Watches that fell behind',
          question: 'Do watchers keep up? One that does not reads the log by itself, which costs PostgreSQL.',
          unit: 'ops',
          queries: [{ expr: `sum by (instance) (${rateOf('watch_streams_fallen_behind_total')})`, legend: '{{instance}}' }],
          warnAt: 0.2,
        },
      ],
    },
    {
      title: 'Latency',
      panels: [
        {
          title: 'Reads of single rows',
          question:
            'How long do GetMessage, GetConversation and their batches take? The objective is 25 ms for 99 %. Points lead to traces.',
          unit: 's',
          queries: quantiles('rpc_server_call_duration_seconds', `rpc_status_code="OK",${READS}`),
          badAt: 0.025,
          traces: true,
        },
        {
          title: 'Writes',
          question:
            'How long do writes take? They wait for row locks, COMMIT and, at most 250 ms, for Redis. The objective is 250 ms for 99 %.',
          unit: 's',
          queries: quantiles('rpc_server_call_duration_seconds', `rpc_status_code="OK",${WRITES}`),
          badAt: 0.25,
          traces: true,
        },
        {
          title: 'Slowest methods, p99',
          question: 'Which method is slow?',
          unit: 's',
          queries: [
            {
              expr: `topk(8, histogram_quantile(0.99, sum by (le, grpc_method) (${rateOf('grpc_server_handling_seconds_bucket', UNARY)})))`,
              legend: '{{grpc_method}}',
            },
          ],
          traces: true,
        },
      ],
    },
  ],
};
