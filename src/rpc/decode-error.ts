/** What is told of a request that could not be decoded: the decoders name a field or a type, callers want a path; nobody wants the value. */
import type { DescField, DescMessage } from '@bufbuild/protobuf';

const WHERE = /cannot decode (field|enum|message) ([\w.]+) from/;
/** Several fields may have the type that is named. */
const MAX_PATHS = 5;
const MAX_DEPTH = 5;

function isMeant(field: DescField, kind: string, name: string): boolean {
  if (kind === 'field') return `${field.parent.typeName}.${field.name}` === name;
  return (kind === 'enum' ? field.enum : field.message)?.typeName === name;
}

function* pathsOf(schema: DescMessage, kind: string, name: string, prefix = '', depth = 1): Generator<string> {
  for (const field of schema.fields) {
    const path = `${prefix}${field.name}`;
    if (isMeant(field, kind, name)) yield path;
    const inside = field.message;
    if (inside === undefined || depth === MAX_DEPTH || inside.typeName.startsWith('google.')) continue;
    yield* pathsOf(inside, kind, name, field.fieldKind === 'list' ? `${path}[].` : `${path}.`, depth + 1);
  }
}

/** Paths in the request as the contract spells them; empty when the request as a whole is broken. */
export function undecodedFields(message: string, schema: DescMessage): readonly string[] {
  const [, kind, name] = WHERE.exec(message) ?? [];
  if (kind === undefined || name === undefined || name === schema.typeName) return [];
  return [...pathsOf(schema, kind, name)].slice(0, MAX_PATHS);
}

const PLACE = /^cannot decode (?:field|enum|message) [\w.]+ from JSON/;
/** All that the decoder of JSON says of a problem without repeating the value. A key is a name that the caller gave to a field. */
const PROBLEM = /^: (?:key "[^"]*" is unknown|expected [\w ()]+(?:, got \w+)?|invalid [\w ]+)(?=:|$)/;

/** The sentence of a decoder as it may be passed on. The decoder of the binary form repeats no values. */
export function withoutValue(message: string): string {
  const place = PLACE.exec(message)?.[0];
  if (place === undefined) return message;
  return place + (PROBLEM.exec(message.slice(place.length))?.[0] ?? '');
}
