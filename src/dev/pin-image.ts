/**
 * `make pin-image`: asks Docker Hub for the digest of each base image and writes it into the Dockerfile; commit the change. Run it when the
 * version of Node in package.json changes, and for the security updates of the image. `REGISTRY=https://mirror` asks another registry.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { baseImagesOf, pinned, tagOf } from './image-pins.ts';

const MANIFESTS = ['application/vnd.oci.image.index.v1+json', 'application/vnd.docker.distribution.manifest.list.v2+json'];
const TIMEOUT_MS = 20_000;

/** As a registry tells where to get a token: `Bearer realm="…",service="…",scope="…"`. */
async function tokenFor(challenge: string): Promise<string> {
  const { realm, ...query } = Object.fromEntries(
    [...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, name = '', value = '']) => [name, value]),
  );
  const response = await fetch(`${realm}?${new URLSearchParams(query)}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  const { token } = (await response.json()) as { readonly token: string };
  return token;
}

/** Of all its platforms together. */
async function digestOf(tag: string, registry: string): Promise<string> {
  const [name = '', version = 'latest'] = tag.split(':');
  const url = `${registry}/v2/${name.includes('/') ? name : `library/${name}`}/manifests/${version}`;
  const ask = (headers: Readonly<Record<string, string>>) =>
    fetch(url, { method: 'HEAD', headers: { accept: MANIFESTS.join(', '), ...headers }, signal: AbortSignal.timeout(TIMEOUT_MS) });
  let response = await ask({});
  const challenge = response.headers.get('www-authenticate');
  if (response.status === 401 && challenge !== null) response = await ask({ authorization: `Bearer ${await tokenFor(challenge)}` });
  const digest = response.headers.get('docker-content-digest') ?? '';
  if (!response.ok || !/^sha256:[0-9a-f]{64}$/.test(digest)) throw new Error(`${url}: ${response.status} ${digest}`);
  return digest;
}

const registry = (process.env['REGISTRY'] ?? 'https://registry-1.docker.io').replace(/\/$/, '');
let dockerfile = readFileSync('Dockerfile', 'utf8');
try {
  for (const tag of new Set(baseImagesOf(dockerfile).map(tagOf))) {
    const digest = await digestOf(tag, registry);
    dockerfile = pinned(dockerfile, tag, digest);
    console.log(`${tag}@${digest}`);
  }
  writeFileSync('Dockerfile', dockerfile);
} catch (error) {
  const { message, cause } = error as Error;
  console.error(`Nothing was changed: ${message}${cause instanceof Error ? `: ${cause.message}` : ''}`);
  process.exitCode = 1;
}
