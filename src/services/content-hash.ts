import { createHash } from 'node:crypto';

/** JSON with sorted keys: equal for equal content, whatever order a client's map had. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (value instanceof Date || typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1));
  return Object.fromEntries(entries.map(([key, inner]) => [key, canonical(inner)]));
}

/** Digest of an operation and what it was asked to do; tells a repeated request_id from a reused one. */
export function contentHash(operation: string, content: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify([operation, canonical(content)]))
    .digest('base64url');
}
