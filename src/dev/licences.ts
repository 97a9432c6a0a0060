/** Licences of what is installed, as the lock has them. */
import type { Lock } from './lock-check.ts';

/** Permissive ones: they ask for their text and no more. */
const ALLOWED: ReadonlySet<string> = new Set([
  ...['0BSD', 'Apache-2.0', 'BlueOak-1.0.0', 'BSD-2-Clause', 'BSD-3-Clause', 'CC0-1.0', 'ISC', 'MIT', 'MIT-0', 'Python-2.0', 'Unlicense'],
]);

/** Of tools that run here and are not part of what is shipped: changes of their own files would have to be published. */
const ALLOWED_IN_DEVELOPMENT: ReadonlySet<string> = new Set([...ALLOWED, 'CC-BY-4.0', 'MPL-2.0']);

/** Read in their LICENSE files: package.json spells it in an old way, or in one of its own. A new version is read again. */
const READ: Readonly<Record<string, string>> = {
  'compute-gcd 1.2.1': 'MIT',
  'compute-lcm 1.1.2': 'MIT',
  'starkbank-ecdsa 1.2.0': 'MIT',
  'validate.io-function 1.0.2': 'MIT',
  'validate.io-integer 1.0.5': 'MIT',
  'validate.io-integer-array 1.0.0': 'MIT',
  'validate.io-number 1.0.3': 'MIT',
};

/** One of `(MIT OR GPL-2.0)` is enough; all of `A AND B` have to be. */
function isAllowed(licence: string, allowed: ReadonlySet<string>): boolean {
  const plain = licence.replaceAll(/[()]/g, '');
  return plain.split(' OR ').some((choice) => choice.split(' AND ').every((one) => allowed.has(one.trim())));
}

const packagesOf = (lock: Lock) =>
  Object.entries(lock.packages).flatMap(([path, entry]) => {
    if (path === '' || entry.integrity === undefined) return [];
    const name = `${path.replace(/^.*node_modules\//, '')} ${entry.version}`;
    return [{ name, licence: READ[name] ?? entry.license ?? 'none', dev: entry.dev ?? false }];
  });

export function licencesOf(lock: Lock): ReadonlyMap<string, readonly string[]> {
  const byLicence = Map.groupBy(packagesOf(lock), ({ licence }) => licence);
  const names = [...byLicence].map(([licence, packages]) => [licence, packages.map(({ name }) => name)] as const);
  return new Map(names.toSorted(([, left], [, right]) => right.length - left.length));
}

export function licenceProblems(lock: Lock): readonly string[] {
  return packagesOf(lock).flatMap(({ name, licence, dev }) =>
    isAllowed(licence, dev ? ALLOWED_IN_DEVELOPMENT : ALLOWED)
      ? []
      : [`${name}: its licence, ${licence}, is not in the list of src/dev/licences.ts`],
  );
}
