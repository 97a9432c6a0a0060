/** Installing Debian packages, where that is possible. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

const updateTimeoutMs = 120_000;
const installTimeoutMs = 300_000;

/** Packages that start a service of their name. */
const SERVICES: ReadonlySet<string> = new Set(['redis-server', 'prometheus']);

/** The full path of a program, or undefined. */
export function findProgram(name: string): string | undefined {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here.
    }
  }
  return undefined;
}

export function canInstall(): boolean {
  return process.getuid?.() === 0 && findProgram('apt-get') !== undefined;
}

function aptGet(timeoutMs: number, ...args: readonly string[]): boolean {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const { status, stderr } = spawnSync('apt-get', ['-qq', ...args], { env, timeout: timeoutMs, encoding: 'utf8' });
  if (status !== 0) console.error(`apt-get ${args.join(' ')} failed: ${stderr?.trim() || 'it took too long'}`);
  return status === 0;
}

/** Says whether all of them are installed now. Debian starts the services it installs; they are stopped again. */
export function installPackages(names: readonly string[]): boolean {
  if (names.length === 0) return true;
  if (!canInstall()) return false;
  console.log(`Installing ${names.join(', ')} ...`);
  // An old package list may still do, so the outcome of the installation alone counts.
  aptGet(updateTimeoutMs, 'update');
  if (!aptGet(installTimeoutMs, 'install', '-y', '--no-install-recommends', ...names)) return false;
  for (const service of names.filter((name) => SERVICES.has(name))) {
    for (const [command, ...args] of [
      ['systemctl', 'disable', '--now', service],
      ['service', service, 'stop'],
    ] as const) {
      spawnSync(command, args, { stdio: 'ignore', timeout: 30_000 });
    }
  }
  return true;
}
