import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

/** Ends what hangs; how fast a machine is, and what else it does, is no business of a test. */
const patient = { testTimeout: 60_000, hookTimeout: 120_000 };
const onServers = { ...patient, globalSetup: ['test/support/global-setup.ts'] };

/** What is about calls, and runs once more with Connect answering all of them: with the lean lane on it answers no plain gRPC call. */
const calls = [
  'clients',
  'lanes',
  'rpc-*',
  'identity*',
  'server-{health,shutdown,tls}',
  'traces',
  'cache-{cells,seed,staleness}',
  'watch-messages',
];

export default defineConfig({
  test: {
    // Most files wait more than they compute; on two cores Vitest would run them one by one.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    projects: [
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts', 'test/model/**/*.test.ts'], ...patient } },
      { test: { name: 'integration', include: ['test/integration/**/*.test.ts', 'test/contract/**/*.test.ts'], ...onServers } },
      { test: { name: 'e2e', include: ['test/e2e/**/*.test.ts'], ...onServers } },
      {
        test: {
          name: 'e2e-connect-lane',
          include: calls.map((name) => `test/e2e/${name}.test.ts`),
          env: { LEAN_LANE: 'false' },
          ...onServers,
        },
      },
    ],
  },
});
