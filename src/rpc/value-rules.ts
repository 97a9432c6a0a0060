/** Rules for every text, number and time of a request that the contract's options cannot state once for all fields. */
import type { DescField, DescMessage } from '@bufbuild/protobuf';
import { type Duration, DurationSchema, StructSchema, type Timestamp, TimestampSchema } from '@bufbuild/protobuf/wkt';
import type { FieldViolation } from '../domain/errors.ts';

/** Deeper JSON is refused: each level is three of protobuf's, of which many clients read no more than 100. */
const MAX_JSON_DEPTH = 32;
const MAX_KEY_IN_PATH = 40;

type Fields = Readonly<Record<string, unknown>>;

/** PostgreSQL text cannot hold NUL, and half a surrogate pair would be stored as another character. */
function problemOf(text: string): string | undefined {
  if (text.includes('\0')) return 'contains a NUL character';
  return text.isWellFormed() ? undefined : 'contains half a surrogate pair';
}

type Found = FieldViolation[];

function inText(text: string, path: string, found: Found): void {
  const problem = problemOf(text);
  if (problem !== undefined) found.push({ field: path, description: problem });
}

/** Paths go into the trailers of an error, which have little room. */
function shortened(key: string): string {
  return key.length > MAX_KEY_IN_PATH ? `${key.slice(0, MAX_KEY_IN_PATH)}…` : key;
}

function inJson(value: unknown, path: string, depth: number, found: Found): void {
  if (typeof value === 'string') inText(value, path, found);
  // JSON has no word for them: they would be stored as null.
  if (typeof value === 'number' && !Number.isFinite(value)) found.push({ field: path, description: 'is not a finite number' });
  if (typeof value !== 'object' || value === null) return;
  if (depth > MAX_JSON_DEPTH) {
    found.push({ field: path, description: `is nested more than ${MAX_JSON_DEPTH} levels deep` });
    return;
  }
  for (const [key, inner] of Object.entries(value)) {
    const problem = problemOf(key);
    if (problem === undefined) inJson(inner, Array.isArray(value) ? `${path}[${key}]` : `${path}.${shortened(key)}`, depth + 1, found);
    else found.push({ field: path, description: `has a key that ${problem}` });
  }
}

const inNanos = (nanos: number): boolean => nanos >= 0 && nanos < 1_000_000_000;

/** The contract's rules look at whole seconds. */
function inTime(message: DescMessage, value: unknown, path: string, found: Found): void {
  const { seconds, nanos } = value as Timestamp | Duration;
  if (message.typeName === TimestampSchema.typeName && !inNanos(nanos)) {
    found.push({ field: path, description: 'has nanos that are not from 0 to 999999999' });
  }
  if (message.typeName === DurationSchema.typeName && (!inNanos(Math.abs(nanos)) || Number(seconds) * nanos < 0)) {
    found.push({ field: path, description: 'has nanos of another sign than its seconds, or of a second or more' });
  }
}

function inValue(field: DescField, value: unknown, path: string, found: Found): void {
  if (typeof value === 'string') inText(value, path, found);
  else if (field.message === undefined) return;
  else if (field.message.typeName === StructSchema.typeName) inJson(value, path, 1, found);
  else {
    inTime(field.message, value, path, found);
    inFields(field.message, value as Fields, `${path}.`, found);
  }
}

function inFields(schema: DescMessage, message: Fields, prefix: string, found: Found): void {
  for (const field of schema.fields) {
    const value = message[field.localName];
    if (value === undefined) continue;
    const path = prefix === '' ? field.name : prefix + field.name;
    if (field.fieldKind !== 'list') inValue(field, value, path, found);
    else if (field.message !== undefined || typeof (value as readonly unknown[])[0] === 'string') {
      for (const [index, item] of (value as readonly unknown[]).entries()) inValue(field, item, `${path}[${index}]`, found);
    }
  }
}

/** Violations with paths as the contract spells them. Requests have no oneofs and no maps; those would not be looked into. */
export function valueViolations(schema: DescMessage, message: Fields): readonly FieldViolation[] {
  const found: FieldViolation[] = [];
  inFields(schema, message, '', found);
  return found;
}
