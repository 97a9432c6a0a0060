/** What every client asks of a server beside an answer, from both lanes: metadata, deadlines, cancellation, compression, errors. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { DomainError } from '../../src/domain/errors.ts';
import { type HandlerLanes, ID, startHandlerLanes } from '../support/handler-lanes.ts';
import { ownClient, peers } from '../support/peers.ts';

const { getMessage } = MessageService.method;

let on: HandlerLanes;
beforeAll(async () => {
  on = await startHandlerLanes({ maxResponseBytes: 8_000_000 });
});
afterAll(() => on[Symbol.asyncDispose]());

const lanes = [
  { name: 'the lean lane', index: 0 },
  { name: "Connect's lane", index: 1 },
] as const;

describe.each(peers.flatMap((peer) => lanes.map((lane) => ({ peer, lane, title: `${peer.name}, on ${lane.name}` }))))(
  '$title',
  ({ peer, lane }) => {
    let missing: string | undefined;
    let address: string;
    beforeAll(async () => {
      missing = await peer.missing();
      address = `127.0.0.1:${on.lanes[lane.index].port}`;
    });

    /** A machine may lack a peer: the test then says which one and counts as skipped. */
    function test(title: string, work: () => Promise<void>): void {
      it(title, async (context) => {
        if (missing !== undefined) context.skip(`missing on this machine: ${missing}`);
        await work();
      });
    }

    test('sends metadata and gets metadata back', async () => {
      on.serve((_, { requestHeader, responseHeader, responseTrailer }) => {
        for (const name of ['x-echo', 'x-echo-bin']) {
          const value = requestHeader.get(name);
          if (value === null) continue;
          responseHeader.set(name, value);
          responseTrailer.set(`trailer-${name}`, value);
        }
        return { message: { id: ID } };
      });
      const headers = { 'x-echo': 'some text', 'x-echo-bin': 'AAEC/w' };
      const outcome = await peer.call(address, getMessage, { id: ID }, { headers });
      // The client package takes no bytes and shows no trailers.
      const shown =
        peer === ownClient ? { 'x-echo': 'some text' } : { ...headers, 'trailer-x-echo': 'some text', 'trailer-x-echo-bin': 'AAEC/w' };
      expect(outcome).toMatchObject({ ok: true, response: { message: { id: ID } }, headers: shown });
    });

    test('reads a large answer that is compressed', async () => {
      const body = randomBytes(500_000).toString('hex');
      let accepted: string | null = null;
      on.serve((_, { requestHeader }) => {
        accepted = requestHeader.get('grpc-accept-encoding');
        return { message: { body } };
      });
      const outcome = await peer.call(address, getMessage, { id: ID });
      expect(accepted).toMatch(/gzip|br/);
      expect(outcome).toMatchObject({ ok: true, response: { message: { body } } });
    });

    test('reads an error with its details', async () => {
      on.serve(() => {
        throw new DomainError('message_not_found', 'there is none: 100 %, Grüße', { metadata: { id: ID } });
      });
      const failure = {
        ok: false,
        code: 'NOT_FOUND',
        message: 'there is none: 100 %, Grüße',
        reason: 'MESSAGE_NOT_FOUND',
        metadata: { id: ID },
      };
      expect(await peer.call(address, getMessage, { id: ID })).toEqual(failure);
    });

    test('gives up at its deadline', async () => {
      const handler = on.hold();
      expect(await peer.call(address, getMessage, { id: ID }, { timeoutMs: 500 })).toMatchObject({ ok: false, code: 'DEADLINE_EXCEEDED' });
      await handler.awaited(1);
      handler.release();
    });

    test('cancels', async () => {
      const controller = new AbortController();
      const asked = Promise.withResolvers<void>();
      const aborted = Promise.withResolvers<void>();
      on.serve(async (_, { signal }) => {
        signal.addEventListener('abort', () => aborted.resolve());
        asked.resolve();
        await aborted.promise;
        return {};
      });
      const before = (await on.lanes[lane.index].handled())['CANCELLED'] ?? 0;
      const call = peer.call(address, getMessage, { id: ID }, { signal: controller.signal }).catch(() => undefined);
      await asked.promise;
      controller.abort();
      await aborted.promise;
      await call;
      await on.idle();
      expect((await on.lanes[lane.index].handled())['CANCELLED']).toBe(before + 1);
    });
  },
);
