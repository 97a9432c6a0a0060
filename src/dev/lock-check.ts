/** What is installed is what package-lock.json says, and it says it of every package by its digest. */
export interface LockedPackage {
  readonly version?: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly license?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly link?: boolean;
  readonly os?: readonly string[];
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

export interface Lock {
  readonly packages: Readonly<Record<string, LockedPackage>>;
}

export interface PackageJson {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}

/** Of other platforms, as src/dev/complete-lock.ts adds them: the registry at hand did not serve them, and nobody here installs them. */
const isOfAnotherPlatform = ({ optional, os, dev }: LockedPackage, path: string): boolean =>
  optional === true && dev === true && (os !== undefined || /musl|gnu|wasm/.test(path));

const EXACT = /^\d+\.\d+\.\d+(-[\w.]+)?$/;

function rootProblems(lock: Lock, packageJson: PackageJson): readonly string[] {
  const root = lock.packages[''] ?? {};
  return (['dependencies', 'devDependencies'] as const).flatMap((group) => {
    const [wanted, locked] = [packageJson[group], root[group] ?? {}];
    const names = new Set([...Object.keys(wanted), ...Object.keys(locked)]);
    return [...names].flatMap((name) => {
      const version = wanted[name];
      if (version === undefined) return [`package-lock.json: ${name} is not in ${group} of package.json; run make lock`];
      if (!EXACT.test(version)) return [`package.json: ${name} ${version} is not an exact version`];
      const installed = lock.packages[`node_modules/${name}`]?.version;
      if (locked[name] === version && installed === version) return [];
      return [`package-lock.json: ${name} is ${installed ?? 'missing'}, package.json says ${version}; run make lock`];
    });
  });
}

export function lockProblems(lock: Lock, packageJson: PackageJson): readonly string[] {
  const entries = Object.entries(lock.packages).filter(([path]) => path !== '');
  return [
    ...rootProblems(lock, packageJson),
    ...entries.flatMap(([path, entry]) => {
      const name = `package-lock.json: ${path.replace(/^.*node_modules\//, '')}`;
      if (entry.link === true) return [`${name} is a link out of the repository`];
      // Without an address it comes from the registry that npm is configured with, and its digest decides.
      if (entry.resolved !== undefined) return [`${name} comes from ${entry.resolved}, not from the registry`];
      if (entry.integrity === undefined && !isOfAnotherPlatform(entry, path)) return [`${name} has no digest`];
      if (entry.integrity !== undefined && !entry.integrity.startsWith('sha512-')) return [`${name} has a digest weaker than SHA-512`];
      return [];
    }),
  ];
}
