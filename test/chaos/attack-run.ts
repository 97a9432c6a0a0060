/**
 * What hostile peers do to others: each attack runs against the real service while an honest client calls. SHORT=1 is the form that CI runs,
 * ATTACK=name runs one. Fails when an honest call is not answered, an attacker is left alone, or the service comes to hold 20 MB more or
 * needs half of what a pod may have.
 */
import { join } from 'node:path';
import { superviseUntil } from '../../src/dev/supervised-process.ts';
import type { Seen } from './attack-connection.ts';
import { createHonestClient } from './attack-honest.ts';
import { type Attacked, type AttackStack, startAttackStack } from './attack-stack.ts';
import { type Attack, attacks } from './attacks.ts';

const MOST_GROWTH_MB = 20;
/** A pod may have 1 GiB, see deploy/kubernetes/server.yaml. */
const MOST_PEAK_MB = 500;
const MEGABYTE = 1_000_000;
/** The honest client has 1. */
const FIRST_ADDRESS = 2;
const SHORT = process.env['SHORT'] === '1';
const ATTACK_MS = SHORT ? 3_000 : 12_000;

interface Line {
  readonly name: string;
  readonly happened: string;
  readonly calls: number;
  readonly slowestMs: number;
  readonly growthMb: number;
  readonly peakMb: number;
  readonly problems: readonly string[];
}

const countsText = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');

function happenedText(seen: Seen, closed: Readonly<Record<string, number>>): string {
  const parts = [
    ['closed by the limits', countsText(closed)],
    ['connections ended', seen.closed > 0 ? `${seen.closed} of ${seen.connected}` : ''],
    ['GOAWAY', countsText(seen.goAways)],
    ['RST_STREAM', countsText(seen.resets)],
    ['answers', countsText(seen.answers)],
  ];
  return parts.flatMap(([what, text]) => (text === '' ? [] : [`${what}: ${text}`])).join('; ');
}

async function startAttackers(attack: Attack, { plain, secure }: AttackStack, httpPort: number) {
  let output = '';
  const target = { grpcPort: plain.service.grpcPort, tlsPort: secure.service.grpcPort, httpPort };
  const attackers = await superviseUntil((text) => text.includes('attacking'), {
    command: process.execPath,
    args: [join(import.meta.dirname, 'attack-process.ts'), attack.name],
    stopSignal: 'SIGTERM',
    env: { ...process.env, ATTACK_TARGET: JSON.stringify(target), ATTACK_ADDRESS: `127.0.0.${FIRST_ADDRESS + attacks.indexOf(attack)}` },
    onOutput: (text) => {
      output += text;
    },
  });
  return {
    async stop(): Promise<Seen> {
      await attackers.stop();
      const line = output.split('\n').find((text) => text.startsWith('{'));
      if (line === undefined) throw new Error(`the attackers ended by themselves:\n${output}`);
      return JSON.parse(line) as Seen;
    },
  };
}

async function withstand(attack: Attack, stack: AttackStack): Promise<Line> {
  const attacked: Attacked = attack.secure === true ? stack.secure : stack.plain;
  const { grpcPort, httpPort } = attacked.service;
  await using honest = createHonestClient({ grpcPort, httpPort, ca: attacked.ca, messageId: stack.messageId });
  const before = { bytes: await attacked.residentBytes(), closed: await attacked.closed() };
  attacked.peakBytes();
  const attackers = await startAttackers(attack, stack, httpPort);
  const { calls, failures, slowestMs } = await honest.callUntil(AbortSignal.timeout(ATTACK_MS));
  // While it still goes on.
  const peakMb = attacked.peakBytes() / MEGABYTE;
  const bytes = await attacked.residentBytes();
  const seen = await attackers.stop();
  const closedNow = await attacked.closed();
  const closed = Object.fromEntries(Object.entries(closedNow).map(([reason, count]) => [reason, count - (before.closed[reason] ?? 0)]));
  const growthMb = (bytes - before.bytes) / MEGABYTE;
  const happened = happenedText(seen, closed) || (attack.harmless ?? '');
  const problems = [
    ...new Set(failures),
    ...(growthMb < MOST_GROWTH_MB ? [] : [`it holds ${growthMb.toFixed(0)} MB more`]),
    ...(peakMb < MOST_PEAK_MB ? [] : [`it came to ${peakMb.toFixed(0)} MB`]),
    ...(happened === '' ? ['nothing happened to the attackers'] : []),
  ];
  return { name: attack.name, happened, calls, slowestMs, growthMb, peakMb, problems };
}

function row({ name, happened, calls, slowestMs, growthMb, peakMb }: Line): string {
  return `| ${name} | ${happened} | ${calls} | ${slowestMs.toFixed(0)} | ${growthMb.toFixed(0)} | ${peakMb.toFixed(0)} |`;
}

async function main(): Promise<boolean> {
  const chosen = attacks.filter(({ name }) => process.env['ATTACK'] === undefined || name === process.env['ATTACK']);
  if (chosen.length === 0) throw new Error(`there is no such attack; there are ${attacks.map(({ name }) => name).join(', ')}`);
  const startedMs = performance.now();
  await using stack = await startAttackStack();
  const ends = [stack.plain, stack.secure].map(({ service }) => service.exited.then((code) => `the service ended with code ${code}`));
  const lines: Line[] = [];
  console.log(
    '| attack | what happened to it | honest calls, all answered | slowest, ms | holds more, MB | peak, MB |\n|---|---|---|---|---|---|',
  );
  for (const attack of chosen) {
    const line = await Promise.race([withstand(attack, stack), ...ends]);
    if (typeof line === 'string') throw new Error(`${attack.name}: ${line}\n${stack.plain.service.output().slice(-2_000)}`);
    lines.push(line);
    console.log(row(line));
    for (const problem of line.problems) console.log(`  ${line.name}: ${problem}`);
  }
  const failed = lines.filter(({ problems }) => problems.length > 0);
  console.log(
    `${failed.length === 0 ? 'PASSED' : 'FAILED'}: ${lines.length} attacks in ${((performance.now() - startedMs) / 1_000).toFixed(0)} s`,
  );
  return failed.length === 0;
}

process.exitCode = (await main()) ? 0 : 1;
