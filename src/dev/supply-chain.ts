/**
 * Part of `make check`: the lock, the licences, the base image, and secrets in the repository. Reads files alone, so it takes no time.
 * `node src/dev/supply-chain.ts licences` prints what is installed by licence; `make sbom` has the whole list.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { imageProblems, unpinned } from './image-pins.ts';
import { licenceProblems, licencesOf } from './licences.ts';
import { type Lock, lockProblems, type PackageJson } from './lock-check.ts';
import { secretProblems } from './secret-scan.ts';

const lock: Lock = JSON.parse(readFileSync('package-lock.json', 'utf8'));

if (process.argv[2] === 'licences') {
  for (const [licence, names] of licencesOf(lock)) console.log(`${licence}: ${names.length}\n  ${names.join(', ')}`);
} else {
  const packageJson: PackageJson = JSON.parse(readFileSync('package.json', 'utf8'));
  const tracked = execFileSync('git', ['ls-files', '-z'], { encoding: 'utf8', maxBuffer: 64 * 1_024 * 1_024 }).split('\0');
  const dockerfile = readFileSync('Dockerfile', 'utf8');
  for (const image of unpinned(dockerfile))
    console.log(`Dockerfile: ${image} has no digest yet; make pin-image, where Docker Hub can be reached.`);
  const problems = [
    ...lockProblems(lock, packageJson),
    ...licenceProblems(lock),
    ...imageProblems(dockerfile),
    ...secretProblems(tracked.filter((path) => path !== '')),
  ];
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
}
