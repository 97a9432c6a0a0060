/** `make peers`: what only the tests use. Installs it where that is possible, otherwise says which tests are skipped. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { canInstall, findProgram, installPackages } from './debian.ts';

const pythonFolder = '/usr/lib/python3/dist-packages';

/** Looks for the files first: starting Python takes longer than all the rest. */
function hasPythonModule(file: string, module: string): boolean {
  if (existsSync(`${pythonFolder}/${file}`)) return true;
  return !existsSync(pythonFolder) && spawnSync('python3', ['-c', `import ${module}`], { stdio: 'ignore' }).status === 0;
}

const peers = [
  {
    debianPackage: 'redis-server',
    isPresent: () => findProgram('redis-server') !== undefined,
    without: 'the tests of the cache against a real Redis are skipped',
  },
  {
    debianPackage: 'python3-grpcio',
    isPresent: () => hasPythonModule('grpc/__init__.py', 'grpc'),
    without: 'the tests with the Python gRPC client are skipped',
  },
  {
    debianPackage: 'python3-protobuf',
    isPresent: () => hasPythonModule('google/protobuf/__init__.py', 'google.protobuf'),
    without: 'the tests with the Python gRPC client are skipped',
  },
  {
    debianPackage: 'chromium-headless-shell',
    isPresent: () => (findProgram('chromium-headless-shell') ?? findProgram('chromium')) !== undefined,
    without: 'the test of the status page in a browser is skipped',
  },
  {
    debianPackage: 'prometheus',
    isPresent: () => findProgram('prometheus') !== undefined && findProgram('promtool') !== undefined,
    without: 'the tests of dashboards and alerts fail where it could be installed, and are skipped elsewhere',
  },
  ...[
    ['jq', 'jq'],
    ['psql', 'postgresql-client'],
    ['curl', 'curl'],
  ].map(([program = '', debianPackage = '']) => ({
    debianPackage,
    isPresent: () => findProgram(program) !== undefined,
    without: "the tests of the runbook's commands are skipped",
  })),
  {
    debianPackage: 'protobuf-compiler-grpc',
    isPresent: () => findProgram('grpc_python_plugin') !== undefined && findProgram('protoc') !== undefined,
    without: 'the test of the Python example is skipped',
  },
];

const missing = () => peers.filter((peer) => !peer.isPresent());

if (missing().length > 0 && canInstall()) installPackages(missing().map(({ debianPackage }) => debianPackage));
for (const { debianPackage, without } of missing()) console.log(`${debianPackage} is missing: ${without}.`);
