/**
 * Adds to package-lock.json the optional packages of other platforms that the registry at hand did not serve when the lock was
 * written. `npm ci` refuses a lock that lacks them, also on platforms that would not install them.
 */
import { readFileSync, writeFileSync } from 'node:fs';

interface LockedPackage {
  readonly version?: string;
  readonly dev?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const OS: readonly (readonly [RegExp, string])[] = [
  [/windows|win32/, 'win32'],
  [/darwin/, 'darwin'],
  [/android/, 'android'],
  [/freebsd/, 'freebsd'],
  [/openharmony/, 'openharmony'],
  [/linux/, 'linux'],
];
const CPU = /-(arm64|x64|ia32|armv7|arm|ppc64|riscv64|s390x|loong64|mips64el|wasm32)(?=-|$)/;

/** What npm would have written, as far as the name of the package tells. */
function entryOf(name: string, range: string, dev: boolean) {
  const os = OS.find(([pattern]) => pattern.test(name))?.[1];
  const cpu = CPU.exec(name)?.[1];
  return {
    version: range.replace(/^[\^~]/, ''),
    ...(cpu === undefined ? {} : { cpu: [cpu === 'armv7' ? 'arm' : cpu] }),
    ...(dev ? { dev: true } : {}),
    ...(name.includes('musl') ? { libc: ['musl'] } : os === 'linux' && name.includes('gnu') ? { libc: ['glibc'] } : {}),
    optional: true,
    ...(os === undefined ? {} : { os: [os] }),
  };
}

const lock: { packages: Record<string, LockedPackage> } = JSON.parse(readFileSync('package-lock.json', 'utf8'));
const missing = Object.values(lock.packages).flatMap(({ optionalDependencies = {}, dev = false }) =>
  Object.entries(optionalDependencies)
    .filter(([name]) => !Object.keys(lock.packages).some((path) => path.endsWith(`node_modules/${name}`)))
    .map(([name, range]) => [`node_modules/${name}`, entryOf(name, range, dev)] as const),
);
const [root, ...others] = Object.entries({ ...lock.packages, ...Object.fromEntries(missing) });
if (root === undefined) throw new Error('package-lock.json has no packages');
const sorted = others.toSorted(([left], [right]) => (left < right ? -1 : 1));
writeFileSync('package-lock.json', `${JSON.stringify({ ...lock, packages: Object.fromEntries([root, ...sorted]) }, null, 2)}\n`);
console.log(`package-lock.json: ${missing.length} optional packages of other platforms added`);
