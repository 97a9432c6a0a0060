/** Whatever a well-typed client sends, the service knows what to make of it. */
import type { DescMessage, DescMethodUnary, MessageInitShape } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { anyRequest, unaryMethods } from '../support/any-request.ts';
import { startTestApp, type TestApp } from '../support/apps.ts';
import { createDatabase } from '../support/database.ts';
import { type Services, servicesOf } from '../support/protocols.ts';

const RUNS_PER_METHOD = 25;

const opened = new AsyncDisposableStack();
let app: TestApp;
let services: Services;
/** Ids that exist, so that a random request gets past "not found". */
let known: string[] = [];

beforeAll(async () => {
  const database = opened.use(await createDatabase());
  app = opened.use(await startTestApp({ DATABASE_URL: database.url }));
  services = servicesOf(app);
});
beforeEach(async () => {
  known = [];
  for (const toAddress of ['+14155552672', '+14155552673']) {
    // The test before may have opted them out.
    const { suppressions } = await services.suppressions.getSuppression({ address: toAddress });
    for (const { address, channelType, fromAddress } of suppressions) {
      await services.suppressions.deleteSuppression({ address, channelType, fromAddress });
    }
    const { message } = await services.messages.sendMessage({ message: { fromAddress: '+14155552671', toAddress, body: 'hello' } });
    known.push(message?.id ?? '', message?.conversationId ?? '');
  }
});
afterAll(async () => {
  const lines = app.logLines().filter(({ level }) => level === 'error');
  await opened.disposeAsync();
  expect(lines).toEqual([]);
});

async function codeOf(method: DescMethodUnary, request: unknown): Promise<Code | 'OK'> {
  try {
    await services.transport.unary(method, undefined, undefined, undefined, request as MessageInitShape<DescMessage>);
    return 'OK';
  } catch (error) {
    return ConnectError.from(error).code;
  }
}

describe('any request', () => {
  it.each(unaryMethods.map((method) => [method.name, method] as const))('to %s is answered, or refused for a reason', async (_, method) => {
    await fc.assert(
      fc.asyncProperty(
        anyRequest(method.input, () => known),
        async (request) => {
          const code = await codeOf(method, request);
          expect([Code.Internal, Code.Unknown, Code.Unavailable, Code.DeadlineExceeded, Code.DataLoss]).not.toContain(code);
        },
      ),
      { numRuns: RUNS_PER_METHOD, endOnFailure: false },
    );
  });
});
