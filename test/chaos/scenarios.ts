/** Every way in which things go wrong here. */
import {
  cutOffOne,
  cutRedis,
  dropCells,
  dropMarks,
  fillRedis,
  killAfterCommit,
  loseCommitReply,
  pauseRedis,
  restoreSnapshot,
  slowRedis,
  startOtherBuild,
  startSameBuild,
  stickRedis,
  stopProcess,
  stopRelay,
} from './faults.ts';
import type { Scenario } from './scenario.ts';
import { typeSql } from './typed-sql.ts';

const sound = { kind: 'sound', wiring: 'direct' } as const;
const redisFault = { kind: 'redis-fault', wiring: 'through-proxies' } as const;

/** Those that are wired alike stand together: the processes start anew where the wiring changes. */
export const scenarios: readonly Scenario[] = [
  { name: 'pauses', ...sound, gapMs: [500, 500] },
  { name: 'kill-after-commit', ...sound, gapMs: [100, 1_000], inject: killAfterCommit },
  { name: 'lost-commit-reply', ...sound, gapMs: [50, 400], inject: loseCommitReply },
  { name: 'typed-sql', ...sound, gapMs: [0, 50], inject: typeSql },
  { name: 'dropped-cells', ...sound, gapMs: [5, 60], inject: dropCells },
  { name: 'two-builds', ...sound, gapMs: [500, 500], prepare: startOtherBuild, restore: startSameBuild },
  { name: 'dropped-marks', ...redisFault, gapMs: [5, 60], inject: dropMarks },
  { name: 'stopped-process', ...redisFault, gapMs: [100, 1_000], inject: stopProcess },
  { name: 'stopped-relay', ...redisFault, gapMs: [100, 1_000], inject: stopRelay },
  { name: 'redis-cut', ...redisFault, gapMs: [50, 500], inject: cutRedis },
  { name: 'redis-slow', ...redisFault, gapMs: [100, 1_000], inject: slowRedis },
  { name: 'redis-stuck', ...redisFault, gapMs: [100, 1_500], inject: stickRedis },
  { name: 'redis-paused', ...redisFault, gapMs: [100, 1_000], inject: pauseRedis },
  { name: 'redis-full', ...redisFault, gapMs: [50, 500], inject: fillRedis },
  { name: 'redis-snapshot', ...redisFault, gapMs: [200, 2_000], inject: restoreSnapshot },
  { name: 'one-cut-off', ...redisFault, gapMs: [100, 1_500], inject: cutOffOne },
];
