/** Part of `make check`: fails when gen/ is not exactly what `make gen` writes. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const freshFolder = '.cache/gen-drift';

function filesIn(folder: string): Map<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => !entry.isDirectory());
  const paths = files.map((entry) => join(entry.parentPath, entry.name));
  return new Map(paths.map((path) => [path.slice(folder.length + 1), readFileSync(path, 'utf8')]));
}

rmSync(freshFolder, { recursive: true, force: true });
try {
  execFileSync('buf', ['generate', '--output', freshFolder], { stdio: 'inherit' });
  const fresh = filesIn(join(freshFolder, 'gen'));
  const committed = filesIn('gen');
  const problems = [
    ...[...fresh]
      .filter(([path, content]) => committed.has(path) && committed.get(path) !== content)
      .map(([path]) => `gen/${path}: differs`),
    ...[...fresh.keys()].filter((path) => !committed.has(path)).map((path) => `gen/${path}: is missing`),
    ...[...committed.keys()].filter((path) => !fresh.has(path)).map((path) => `gen/${path}: comes from no .proto file`),
  ];
  if (problems.length > 0) {
    console.error(`gen/ is not what proto/ generates; never edit it, run \`make gen\` and commit the result.\n${problems.join('\n')}`);
    process.exitCode = 1;
  }
} finally {
  rmSync(freshFolder, { recursive: true, force: true });
}
