/**
 * How the service is started: src/main.ts under Node's permission model, with the least that it needs. It may read the program itself, what
 * Linux tells of the process, and the files that the environment names; it may write no file, start no process or thread, and load no native code.
 */
import { realpathSync } from 'node:fs';
import { isAbsolute, join, resolve, sep } from 'node:path';

/**
 * For the allocator of the C library, which without it keeps what it was asked for in a burst: a larger block is returned when it is let go
 * of (at 128 KiB it begins with that, and forgets it), threads share two heaps, and none puts small blocks aside, of which one alone keeps
 * all memory below it from being returned. Whoever sets them otherwise is heeded.
 */
const ALLOCATOR = {
  MALLOC_MMAP_THRESHOLD_: '131072',
  MALLOC_TRIM_THRESHOLD_: '131072',
  MALLOC_ARENA_MAX: '2',
  GLIBC_TUNABLES: 'glibc.malloc.tcache_count=0',
};

/**
 * For what the program itself keeps, in MiB: near this V8 collects more often; by itself it would take a quarter of the machine first. In a
 * container with less memory it is half of that: the rest is for buffers, and for the young.
 */
const MAX_HEAP_MEBIBYTES = 512;
const MEBIBYTE = 1_048_576;

type Environment = Readonly<Record<string, string | undefined>>;

/** Where the program is: src, gen and node_modules. */
const programFolder = join(import.meta.dirname, '..');
/** Where its packages are: node_modules may be a link. */
const packagesFolder = realpathSync(join(programFolder, 'node_modules'));
const folders = packagesFolder.startsWith(programFolder + sep) ? [programFolder] : [programFolder, packagesFolder];

/** Where Linux tells a process about itself, for the metrics of its memory and files. */
const OWN_FIGURES = ['/proc/self/status', '/proc/self/limits', '/proc/self/fd'];

/** PostgreSQL's driver reads the files that these parameters of the connection string name. */
const DATABASE_FILES = ['sslcert', 'sslkey', 'sslrootcert'];
/** Of ours; of OpenTelemetry's exporters; of Node. */
const NAMES_A_FILE = /_FILE$|^OTEL_EXPORTER_OTLP_.*(CERTIFICATE|CLIENT_KEY)$|^NODE_EXTRA_CA_CERTS$/;

function databaseFiles({ DATABASE_URL: url = '' }: Environment): readonly string[] {
  // What is wrong with it is said when the configuration is read.
  if (!URL.canParse(url)) return [];
  const { searchParams } = new URL(url);
  return DATABASE_FILES.flatMap((name) => searchParams.get(name) ?? []);
}

/** Node's arguments before the program. */
export function permissionArguments(environment: Environment): readonly string[] {
  const named = Object.entries(environment).flatMap(([name, value = '']) => (NAMES_A_FILE.test(name) && value !== '' ? [value] : []));
  const files = [...named, ...databaseFiles(environment)].map((path) => (isAbsolute(path) ? path : resolve(path)));
  return ['--permission', ...[...folders, ...OWN_FIGURES, ...new Set(files)].map((path) => `--allow-fs-read=${path}`)];
}

/** `containerBytes`: what the container may have. */
export function heapArguments({ NODE_OPTIONS: options = '' }: Environment, containerBytes: number): readonly string[] {
  if (/--max[-_]old[-_]space[-_]size/.test(options)) return [];
  // 0 and absurdly much stand for no limit.
  const share = containerBytes > 0 ? Math.floor(containerBytes / MEBIBYTE / 2) : MAX_HEAP_MEBIBYTES;
  return [`--max-old-space-size=${Math.min(share, MAX_HEAP_MEBIBYTES)}`];
}

/** Becomes the service, in this process; `main`: another program of this folder in its place. */
function start(main: string, environment: Environment): void {
  process.chdir(programFolder);
  const [node] = [process.execPath];
  // graphile-worker looks for a configuration from here up to the home folder, and may look nowhere else.
  const nodeArguments = [...permissionArguments(environment), ...heapArguments(environment, process.constrainedMemory())];
  process.execve?.(node, [node, ...nodeArguments, main], {
    ...ALLOCATOR,
    ...environment,
    HOME: programFolder,
  } as NodeJS.ProcessEnv);
}

if (import.meta.main) start(process.argv[2] ?? 'src/main.ts', process.env);
