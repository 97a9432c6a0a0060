/** Rules for every text of a request that the contract's options cannot state once for all fields. */
import type { DescField, DescMessage } from '@bufbuild/protobuf';
import type { FieldViolation } from '../domain/errors.ts';

/** Nesting of caller-owned JSON that is looked into; deeper JSON is refused. */
const MAX_JSON_DEPTH = 64;
const JSON_OBJECT = 'google.protobuf.Struct';

type Fields = Readonly<Record<string, unknown>>;

/** PostgreSQL text cannot hold NUL, and half a surrogate pair would be stored as another character. */
function problemOf(text: string): string | undefined {
  if (text.includes('\0')) return 'contains a NUL character';
  return text.isWellFormed() ? undefined : 'contains half a surrogate pair';
}

function* inText(text: string, path: string): Generator<FieldViolation> {
  const problem = problemOf(text);
  if (problem !== undefined) yield { field: path, description: problem };
}

function* inJson(value: unknown, path: string, depth: number): Generator<FieldViolation> {
  if (typeof value === 'string') yield* inText(value, path);
  if (typeof value !== 'object' || value === null) return;
  if (depth > MAX_JSON_DEPTH) {
    yield { field: path, description: `is nested more than ${MAX_JSON_DEPTH} levels deep` };
    return;
  }
  for (const [key, inner] of Object.entries(value)) {
    const problem = problemOf(key);
    if (problem === undefined) yield* inJson(inner, Array.isArray(value) ? `${path}[${key}]` : `${path}.${key}`, depth + 1);
    else yield { field: path, description: `has a key that ${problem}` };
  }
}

function* inValue(field: DescField, value: unknown, path: string): Generator<FieldViolation> {
  if (typeof value === 'string') yield* inText(value, path);
  else if (field.message?.typeName === JSON_OBJECT) yield* inJson(value, path, 1);
  else if (field.message !== undefined) yield* textViolations(field.message, value as Fields, `${path}.`);
}

/** Violations with paths as the contract spells them. Requests have no oneofs and no maps; those would not be looked into. */
export function* textViolations(schema: DescMessage, message: Fields, prefix = ''): Generator<FieldViolation> {
  for (const field of schema.fields) {
    const value = message[field.localName];
    if (value === undefined) continue;
    const path = `${prefix}${field.name}`;
    if (field.fieldKind !== 'list') yield* inValue(field, value, path);
    else for (const [index, item] of (value as readonly unknown[]).entries()) yield* inValue(field, item, `${path}[${index}]`);
  }
}
