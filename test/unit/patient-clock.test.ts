import { expect, it } from 'vitest';
import { PatientClock } from '../../src/rpc/patient-clock.ts';

it('goes with the wall clock while the process listens', () => {
  let wallMs = 1_000;
  const clock = new PatientClock(() => wallMs);
  for (let tick = 0; tick < 40; tick += 1) {
    wallMs += 25;
    clock.tick();
  }
  wallMs += 10;
  expect(clock.nowMs()).toBe(1_010);
});

it('stands still while the process is held up, and goes on from there', () => {
  let wallMs = 0;
  const clock = new PatientClock(() => wallMs);
  wallMs += 10_000;
  expect(clock.nowMs()).toBe(50);
  clock.tick();
  expect(clock.nowMs()).toBe(50);
  wallMs += 30;
  expect(clock.nowMs()).toBe(80);
});
