/**
 * Part of `make check`: fails when proto/ breaks callers of the baseline.
 *
 * The baseline is the newest tag, for that is what callers have. Before the first tag it is the first commit with a contract: a later
 * one would let a break pass as soon as it is committed.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const baselineFolder = '.cache/breaking';

function git(...args: readonly string[]): readonly string[] {
  const { status, stdout } = spawnSync('git', args, { encoding: 'utf8' });
  return status === 0 ? stdout.split('\n').filter((line) => line !== '') : [];
}

function findBaseline(): { readonly commit: string; readonly name: string } | undefined {
  const tag = git('tag', '--merged', 'HEAD', '--sort=-creatordate').find(
    (name) => git('ls-tree', `refs/tags/${name}`, 'proto/').length > 0,
  );
  if (tag !== undefined) return { commit: `refs/tags/${tag}`, name: `tag ${tag}` };
  const commit = git('log', '--reverse', '--topo-order', '--format=%H', '--', 'proto')[0];
  return commit === undefined
    ? undefined
    : { commit, name: `commit ${commit.slice(0, 10)}, the first with a contract (there is no tag yet)` };
}

function extract(commit: string): void {
  rmSync(baselineFolder, { recursive: true, force: true });
  mkdirSync(baselineFolder, { recursive: true });
  const archive = execFileSync('git', ['archive', '--format=tar', commit, 'proto'], { maxBuffer: 256 * 1024 * 1024 });
  execFileSync('tar', ['-x', '-C', baselineFolder], { input: archive });
  // The imports of today on both sides: only our own contract is compared.
  cpSync('buf.yaml', join(baselineFolder, 'buf.yaml'));
  cpSync('.cache/proto-imports', join(baselineFolder, '.cache/proto-imports'), { recursive: true });
}

const baseline = findBaseline();
if (baseline === undefined) {
  console.log('buf breaking: no baseline yet.');
} else {
  console.log(`buf breaking: against ${baseline.name}.`);
  extract(baseline.commit);
  process.exitCode = spawnSync('buf', ['breaking', '--against', baselineFolder, '--exclude-imports'], { stdio: 'inherit' }).status ?? 1;
}
