/** What may happen in one exploration. Budgets are small; every mutant is caught within them. */
import type { Scenario } from './protocol.ts';

/** Redis answers: nothing that was acknowledged or returned may be missed. */
const healthy: Scenario = {
  name: 'evictions and crashes',
  writers: ['update', 'update'],
  loads: 3,
  outside: [],
  evictions: 3,
  unanswered: 0,
  failovers: 0,
  intervals: 0,
  refresh: false,
  acknowledged: 'all',
  returned: 'marked',
};

/** Redis or the network fails: what the watermark claims is left, and nothing is wrong at rest. */
const faulty: Scenario = { ...healthy, loads: 1, evictions: 0, acknowledged: 'none', returned: 'none' };

export const evictions: Scenario = healthy;

export const outsideSql: Scenario = { ...healthy, name: 'SQL from outside', outside: ['update'], evictions: 1 };

export const earlyRefresh: Scenario = { ...healthy, name: 'early refresh', loads: 2, outside: ['update'], evictions: 0, refresh: true };

export const deleteAndInsert: Scenario = {
  ...healthy,
  name: 'delete, insert again',
  writers: ['delete', 'insert'],
  outside: ['update'],
  evictions: 1,
};

const deleteAndInsertOutside: Scenario = {
  ...deleteAndInsert,
  name: 'the same from outside',
  writers: ['update'],
  outside: ['delete', 'insert'],
};

const deleteAndInsertLate: Scenario = {
  ...faulty,
  name: 'the same, late commands',
  writers: ['delete', 'insert'],
  unanswered: 1,
  evictions: 1,
};

export const lateCommands: Scenario = { ...faulty, name: 'lost and late commands', unanswered: 3, acknowledged: 'settled' };

export const lateAndOutside: Scenario = { ...faulty, name: 'late commands, outside SQL', unanswered: 1, outside: ['update'] };

export const failover: Scenario = { ...faulty, name: 'failover', failovers: 1, outside: ['update'] };

export const timePasses: Scenario = {
  ...faulty,
  name: 'time passes',
  writers: ['update'],
  unanswered: 1,
  outside: ['update'],
  intervals: 3,
};

/** For the unit suite: a few seconds each. */
export const scenarios: readonly Scenario[] = [
  evictions,
  outsideSql,
  earlyRefresh,
  deleteAndInsert,
  deleteAndInsertOutside,
  deleteAndInsertLate,
  lateCommands,
  lateAndOutside,
  failover,
  timePasses,
];

/** For `make model`. */
export const deepScenarios: readonly Scenario[] = [
  { ...evictions, writers: ['update', 'update', 'update'], evictions: 2 },
  { ...outsideSql, evictions: 2 },
  earlyRefresh,
  { ...deleteAndInsert, evictions: 2 },
  { ...deleteAndInsertOutside, evictions: 2 },
  { ...deleteAndInsertLate, unanswered: 2 },
  { ...lateCommands, evictions: 1 },
  { ...lateAndOutside, unanswered: 2 },
  { ...failover, failovers: 2 },
  { ...timePasses, unanswered: 1 },
];
