import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { GetMessageRequestSchema } from '../../gen/messaging/v1/message_service_pb.js';
import { createCheckedRequests } from '../../src/rpc/checked-requests.ts';

const request = (id: string) => create(GetMessageRequestSchema, { id });

describe('requests that were checked', () => {
  it('are found by their bytes, as they were', () => {
    const requests = createCheckedRequests();
    const first = request('a');
    requests.remember('bytes of a', first);
    expect(requests.find('bytes of a')).toBe(first);
    expect(requests.find('bytes of b')).toBeUndefined();
  });

  it('cannot be changed by the handlers that share them', () => {
    const requests = createCheckedRequests();
    const first = request('a');
    requests.remember('bytes of a', first);
    expect(() => {
      first.id = 'b';
    }).toThrow(TypeError);
  });

  it('are forgotten unless they are used, and never more than twice 4,096', () => {
    const requests = createCheckedRequests();
    requests.remember('used', request('used'));
    for (let index = 0; index < 20_000; index += 1) {
      requests.remember(String(index), request(String(index)));
      requests.find('used');
    }
    expect(requests.find('used')).toBeDefined();
    expect(requests.find('0')).toBeUndefined();
    const kept = Array.from({ length: 20_000 }, (_, index) => requests.find(String(index))).filter((found) => found !== undefined);
    expect(kept.length).toBeLessThanOrEqual(2 * 4_096);
  });
});
