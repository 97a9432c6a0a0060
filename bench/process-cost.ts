/** What another process of this machine has used. */
import { readdirSync, readFileSync } from 'node:fs';

/** CPU time of all its threads so far, in µs. The scheduler's own account: /proc/PID/stat counts in steps of 10 ms. */
export function cpuUs(pid: number): number {
  let sumNs = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    sumNs += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ', 1)[0]);
  }
  return sumNs / 1_000;
}

export function residentMegabytes(pid: number): number {
  const kibibytes = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
  return (Number(kibibytes) * 1_024) / 1e6;
}
