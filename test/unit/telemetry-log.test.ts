import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createLog } from '../../src/telemetry/log.ts';
import { startTelemetry } from '../../src/telemetry/otel.ts';
import { activeTrace, startServerSpan } from '../../src/telemetry/trace.ts';

const CANARY = 'canary-secret-7';

function collect(level = 'debug') {
  const lines: string[] = [];
  const log = createLog({ level, destination: { write: (line) => lines.push(line) } });
  return { log, lines, parsed: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

class UniqueViolation extends Error {
  readonly code = '23505';
  readonly constraint = 'message_request_id_key';
  readonly detail = `Key (to_address)=(${CANARY}) already exists.`;
  readonly query = `insert into message values ('${CANARY}')`;
}

describe('a log line', () => {
  test('is JSON with time, level, service and message', () => {
    const { log, parsed } = collect();
    log.child({ room: 'cache' }).info({ entity: 'message', attempt: 2 }, 'Message cache hit: 019300aa-0000-7000-8000-000000000001');
    expect(parsed()).toEqual([
      {
        level: 'info',
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
        service: 'messaging-service',
        room: 'cache',
        entity: 'message',
        attempt: 2,
        msg: 'Message cache hit: 019300aa-0000-7000-8000-000000000001',
      },
    ]);
  });

  test('is not written below the level', () => {
    const { log, lines } = collect('info');
    log.debug('unseen');
    log.debug({ a: 1 }, 'unseen');
    expect(log.isDebugEnabled()).toBe(false);
    expect(lines).toEqual([]);
  });

  test('carries the ids of the active trace', async () => {
    await using _telemetry = await startTelemetry({ exportTraces: false, sampleRatio: 1, serviceName: 'messaging', serviceVersion: '1' });
    const { log, parsed } = collect();
    const call = startServerSpan({ headers: {}, system: 'grpc', method: 'a/B' });
    const spanId = call.run(() => {
      log.info('inside');
      return activeTrace()?.spanId;
    });
    log.info('outside');
    expect(parsed()[0]).toMatchObject({ trace_id: call.traceId, span_id: spanId });
    expect(parsed()[1]).not.toHaveProperty('trace_id');
  });

  test('tells an error by type, code, constraint and frames, and so its causes', () => {
    const { log, lines, parsed } = collect();
    const cause = new UniqueViolation(`value "${CANARY}"\n    at frame (file:///${CANARY}.ts:1:1)`);
    const wrapped = Object.assign(new Error(`${cause.message} wrapped`, { cause }), { message: `later ${CANARY}` });
    wrapped.stack += `\n\nprevious UniqueViolation: ${cause.message}`;
    log.error({ err: wrapped, all: new AggregateError([cause], CANARY) }, 'failed');
    expect(parsed()[0]).toMatchObject({
      err: { type: 'Error', cause: { type: 'UniqueViolation', code: '23505', constraint: 'message_request_id_key' } },
      all: { type: 'AggregateError', errors: [{ type: 'UniqueViolation' }] },
    });
    expect(parsed()[0]).toHaveProperty('err.stack.0', expect.stringContaining('telemetry-log.test.ts'));
    expect(lines.join()).not.toContain(CANARY);
  });

  test('takes an error in place of fields', () => {
    const { log, lines, parsed } = collect();
    log.error(new UniqueViolation(CANARY), 'failed');
    expect(parsed()[0]).toMatchObject({ msg: 'failed', err: { type: 'UniqueViolation' } });
    expect(lines.join()).not.toContain(CANARY);
  });

  test.each([
    'body',
    'html_body',
    'htmlBody',
    'from_address',
    'toAddress',
    'password',
    'Authorization',
    'token',
    'page_token',
    'url',
    'DATABASE_URL',
    'participants',
  ])('never shows the value of %s, however deep', (key) => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', 'items', 'request'), { maxLength: 5 }), (path) => {
        const { log, lines } = collect();
        const fields = path.reduceRight<object>((inner, name) => ({ [name]: inner }), { [key]: [CANARY, { x: CANARY }] });
        log.child(fields).info(fields, 'request');
        expect(lines.join()).not.toContain(CANARY);
      }),
      { numRuns: 20 },
    );
  });

  test.each([
    `postgresql://user:${CANARY}@db:5432/messaging?password=${CANARY}`,
    `redis://:${CANARY}@cache:6379/0`,
    `https://user:${CANARY}@host/path`,
    `host=db password=${CANARY} user=x`,
    `Bearer ${CANARY}`,
    `${CANARY}@example.com`,
  ])('cuts secrets out of text: %s', (text) => {
    const { log, lines } = collect();
    log.warn({ where: text, list: [text] }, `cannot reach ${text}`);
    expect(lines.join()).not.toContain(CANARY);
    expect(lines.join()).toContain('[redacted]');
  });

  test('cuts phone numbers out of text', () => {
    const { log, lines } = collect();
    log.warn('cannot send to +14155552671');
    expect(lines.join()).not.toContain('4155552671');
  });

  test('survives what JSON cannot hold', () => {
    const { log, parsed } = collect();
    const circle: Record<string, unknown> = {
      big: 1n,
      bytes: new Uint8Array(3),
      fn: () => 1,
      when: new Date(0),
      wrong: new Date(Number.NaN),
    };
    circle['self'] = circle;
    log.info(circle, 'odd');
    expect(parsed()[0]).toMatchObject({ big: '1', bytes: '[3 bytes]', when: '1970-01-01T00:00:00.000Z', wrong: null });
  });
});
