import { expect, onTestFinished, test, vi } from 'vitest';
import { createMessagingClient } from '../../src/client/messaging-client.ts';
import { showDelivery } from '../../src/dev/demo-delivery.ts';
import { simulated } from '../support/simulated.ts';

test('the demo puts back what faults the simulator had, also when it fails', async () => {
  const { simulator } = await simulated({ faults: { callbackDelayMs: [50, 400], throttle: 0.25 } });
  for (const method of ['log', 'error'] as const) {
    const spy = vi.spyOn(console, method).mockImplementation(() => undefined);
    onTestFinished(() => spy.mockRestore());
  }
  const before = simulator.faults;
  const setFaults = vi.spyOn(simulator, 'setFaults');
  // Nobody listens there.
  using client = createMessagingClient('127.0.0.1:1');
  await expect(showDelivery(client, simulator.url, { shop: '+14155552671', guest: '+14155552672' })).rejects.toThrow();
  expect(setFaults.mock.calls).toMatchObject([[{ duplicate: 1, throttle: 0 }], [before]]);
  expect(simulator.faults).toEqual(before);
});
