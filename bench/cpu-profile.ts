/** Reads what `node --cpu-prof` writes: self time by function, and by the package or room that the function belongs to. */
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { repositoryFolder } from '../src/dev/data-folder.ts';

interface ProfileNode {
  readonly id: number;
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
}

interface Profile {
  readonly nodes: readonly ProfileNode[];
  /** Ids of nodes. */
  readonly samples: readonly number[];
  /** In µs, one before each sample. */
  readonly timeDeltas: readonly number[];
  /** In µs of the machine's monotonic clock. */
  readonly startTime: number;
}

export interface SelfTime {
  readonly name: string;
  /** Of all time that was not idle, 0 to 1. */
  readonly share: number;
}

export interface SelfTimes {
  readonly functions: readonly SelfTime[];
  readonly groups: readonly SelfTime[];
}

/** `src/rpc/server.ts`, `node_modules/...`, `node:internal/...`; empty for what V8 does by itself. */
function placeOf(url: string): string {
  return url.startsWith('file://') ? relative(repositoryFolder, fileURLToPath(url)) : url.replace(/^.*(?=node_modules\/)/, '');
}

function groupOf({ functionName, url }: ProfileNode['callFrame']): string {
  if (functionName.startsWith('(')) return functionName;
  const place = placeOf(url);
  if (place === '') return 'built into V8 or Node';
  const [, , ownPackage] = /^(.*node_modules\/)((?:@[^/]+\/)?[^/]+)/.exec(place) ?? [];
  if (ownPackage !== undefined) return ownPackage;
  // node:internal/http2/core and node:events alike.
  const [, nodePart] = /^node:(?:internal\/)?([^/]+)/.exec(place) ?? [];
  if (nodePart !== undefined) return `node:${nodePart}`;
  return place
    .split('/')
    .slice(0, place.startsWith('src/') ? 2 : 1)
    .join('/');
}

function nameOf({ functionName, url, lineNumber }: ProfileNode['callFrame']): string {
  const place = placeOf(url);
  return `${functionName || '(anonymous)'}${place === '' ? '' : `  ${place}:${lineNumber + 1}`}`;
}

function sharesOf(times: ReadonlyMap<string, number>): readonly SelfTime[] {
  const sum = [...times.values()].reduce((total, us) => total + us, 0);
  return [...times].map(([name, us]) => ({ name, share: us / sum })).toSorted((left, right) => right.share - left.share);
}

/** Only what was sampled between the two times, in µs of the monotonic clock. */
export function selfTimes(file: string, fromUs: number, toUs: number): SelfTimes {
  const { nodes, samples, timeDeltas, startTime } = JSON.parse(readFileSync(file, 'utf8')) as Profile;
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const [functions, groups] = [new Map<string, number>(), new Map<string, number>()];
  let nowUs = startTime;
  for (const [index, id] of samples.entries()) {
    const deltaUs = timeDeltas[index] ?? 0;
    nowUs += deltaUs;
    const frame = frames.get(id);
    if (nowUs < fromUs || nowUs > toUs || frame === undefined || frame.functionName === '(idle)') continue;
    for (const [times, name] of [[functions, nameOf(frame)] as const, [groups, groupOf(frame)] as const]) {
      times.set(name, (times.get(name) ?? 0) + deltaUs);
    }
  }
  return { functions: sharesOf(functions), groups: sharesOf(groups) };
}
