import { describe, expect, test } from 'vitest';
import { createMetrics } from '../../src/telemetry/metrics.ts';

const GET_MESSAGE = { service: 'messaging.v1.MessageService', method: 'GetMessage', type: 'unary' } as const;
const TRACE = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' };
const METHOD_LABELS = 'grpc_type="unary",grpc_service="messaging.v1.MessageService",grpc_method="GetMessage"';
const CALL_LABELS = 'rpc_system_name="grpc",rpc_method="messaging.v1.MessageService/GetMessage",rpc_status_code="OK"';

async function linesOf(metrics: ReturnType<typeof createMetrics>): Promise<readonly string[]> {
  return (await metrics.exposition()).text.split('\n');
}

describe('metrics', () => {
  test('are OpenMetrics text, with those of the process', async () => {
    const { contentType, text } = await createMetrics().exposition();
    expect(contentType).toMatch(/^application\/openmetrics-text; version=1\.0\.0/);
    expect(text).toMatch(/# EOF\n$/);
    expect(text).toContain('process_cpu_seconds_total');
    expect(text).toContain('nodejs_eventloop_lag_seconds');
  });

  test('count a call when it begins and when it ends', async () => {
    const metrics = createMetrics();
    const counts = metrics.rpc(GET_MESSAGE);
    counts.started();
    counts.started();
    counts.handled('grpc', 'NOT_FOUND', 0.004);
    const lines = await linesOf(metrics);
    expect(lines).toContain(`grpc_server_started_total{${METHOD_LABELS}} 2`);
    expect(lines).toContain(`grpc_server_handled_total{${METHOD_LABELS},grpc_code="NOT_FOUND"} 1`);
    expect(lines).toContain(`grpc_server_handling_seconds_sum{${METHOD_LABELS}} 0.004`);
  });

  test('point from a duration to the trace that took it', async () => {
    const metrics = createMetrics();
    const counts = metrics.rpc(GET_MESSAGE);
    counts.handled('grpc', 'OK', 0.004, TRACE);
    counts.handled('grpc', 'OK', 20);
    const lines = await linesOf(metrics);
    const exemplar = `# {trace_id="${TRACE.traceId}",span_id="${TRACE.spanId}"} 0.004 `;
    for (const start of [
      `grpc_server_handling_seconds_bucket{le="0.005",${METHOD_LABELS}} 1 `,
      `rpc_server_call_duration_seconds_bucket{le="0.005",${CALL_LABELS}} 1 `,
    ]) {
      expect(lines.find((line) => line.startsWith(start))).toContain(exemplar);
    }
    expect(lines).toContain(`rpc_server_call_duration_seconds_count{${CALL_LABELS}} 2`);
    expect(lines.filter((line) => line.includes('trace_id='))).toHaveLength(2);
  });

  test('give methods and codes that do not exist no label of their own', async () => {
    const metrics = createMetrics();
    metrics.rpc({ service: '_OTHER', method: '_OTHER', type: 'unary' }).handled('connectrpc', 'made up', 1);
    const { text } = await metrics.exposition();
    expect(text).toContain('rpc_system_name="connectrpc",rpc_method="_OTHER",rpc_status_code="UNKNOWN"');
    expect(text).not.toContain('made up');
  });

  test('count cache operations under the names the dashboards know, from zero', async () => {
    const metrics = createMetrics();
    expect(await linesOf(metrics)).toContain('cache_operations_total{operation="get",result="hit",entity="message"} 0');
    metrics.cacheOperations('get', 'hit', 'message').inc();
    metrics.cacheDuration('get', 'message').observe(0.0007);
    metrics.cacheOperations('set', 'refused', 'conversation').inc();
    const lines = await linesOf(metrics);
    expect(lines).toContain('cache_operations_total{operation="get",result="hit",entity="message"} 1');
    expect(lines).toContain('cache_operations_total{operation="set",result="refused",entity="conversation"} 1');
    expect(lines).toContain('cache_operation_duration_seconds_count{operation="get",entity="message"} 1');
  });

  test('take a message that was delivered before the time it was to be sent for one delivered at once', async () => {
    const metrics = createMetrics();
    metrics.deliveryReached('delivered', 'sms', -3_600);
    metrics.deliveryReached('delivered', 'sms', 2);
    const labels = 'stage="delivered",message_type="sms"';
    const lines = await linesOf(metrics);
    expect(lines).toContain(`delivery_duration_seconds_sum{${labels}} 2`);
    expect(lines).toContain(`delivery_duration_seconds_count{${labels}} 2`);
  });

  test('show the breaker', async () => {
    const metrics = createMetrics();
    expect(await linesOf(metrics)).toContain('cache_breaker_open 0');
    metrics.cacheBreaker(true);
    expect(await linesOf(metrics)).toContain('cache_breaker_open 1');
  });

  test('count what coherence depends on, from zero', async () => {
    const metrics = createMetrics();
    const before = await linesOf(metrics);
    for (const line of [
      'cache_settles_total{outcome="failed"} 0',
      'cache_verify_total{result="mismatch"} 0',
      'cache_mark_failures_total 0',
    ]) {
      expect(before).toContain(line);
    }
    metrics.cacheSettled('stored');
    metrics.cacheMarksFailed(2);
    metrics.cacheVerified('match');
    metrics.cacheFlushed();
    metrics.relayPassed({ rows: 3, oldestSeconds: 0.25 });
    metrics.outboxWaits({ rows: 12, oldestSeconds: 1.5 });
    metrics.cacheStored('message', 700);
    metrics.watchTrust(() => true);
    const lines = await linesOf(metrics);
    for (const line of [
      ...['cache_settles_total{outcome="stored"} 1', 'cache_mark_failures_total 2', 'cache_verify_total{result="match"} 1'],
      ...['cache_epoch_flushes_total 1', 'cache_relay_lag_seconds 0.25', 'cache_outbox_rows 3', 'cache_trusted 1'],
      ...['cache_outbox_waiting_rows 12', 'cache_outbox_waiting_seconds 1.5'],
      'cache_value_bytes_bucket{le="1024",entity="message"} 1',
    ]) {
      expect(lines).toContain(line);
    }
  });

  test('count messages that were given up, from zero', async () => {
    const metrics = createMetrics();
    const line = 'delivery_dead_letters_total{provider="twilio",reason="outcome_unknown"}';
    expect(await linesOf(metrics)).toContain(`${line} 0`);
    metrics.deadLetter('twilio', 'outcome_unknown');
    expect(await linesOf(metrics)).toContain(`${line} 1`);
  });

  test('read the pool at every scrape', async () => {
    const metrics = createMetrics();
    let used = 1;
    metrics.watchPool(() => ({ idle: 4, used, pending: 7 }));
    expect(await linesOf(metrics)).toContain('db_client_connections{state="used"} 1');
    used = 3;
    const lines = await linesOf(metrics);
    expect(lines).toContain('db_client_connections{state="used"} 3');
    expect(lines).toContain('db_client_connections{state="idle"} 4');
    expect(lines).toContain('db_client_pending_requests 7');
  });

  test('of two processes in one do not mix', async () => {
    const [one, other] = [createMetrics(), createMetrics()];
    one.cacheBreaker(true);
    expect(await linesOf(other)).toContain('cache_breaker_open 0');
  });
});
