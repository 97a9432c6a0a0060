/** Arbitrary values of any message, in every shape that code may give them: made, frozen, or left to be made. */
import { create, type DescField, type DescMessage, type MessageInitShape, ScalarType } from '@bufbuild/protobuf';
import fc from 'fast-check';

/** Fields of messages deeper than this are left out. */
const MAX_DEPTH = 4;
const MAX_ITEMS = 3;

const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 12 }), fc.constantFrom('', 'x'.repeat(200), '\u{1f600}\0'));

const scalars: Partial<Record<ScalarType, fc.Arbitrary<unknown>>> = {
  [ScalarType.STRING]: text,
  [ScalarType.BYTES]: fc.uint8Array({ maxLength: 12 }),
  [ScalarType.BOOL]: fc.boolean(),
  [ScalarType.INT32]: fc.integer(),
  [ScalarType.INT64]: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  [ScalarType.DOUBLE]: fc.double(),
};

function scalar(type: ScalarType): fc.Arbitrary<unknown> {
  const arbitrary = scalars[type];
  if (arbitrary === undefined) throw new Error(`no message has a scalar ${ScalarType[type]} yet`);
  return arbitrary;
}

function single(field: DescField, depth: number): fc.Arbitrary<unknown> {
  if (field.message !== undefined) return anyShape(field.message, depth + 1);
  if (field.enum !== undefined) return fc.oneof(fc.constantFrom(...field.enum.values.map(({ number }) => number)), fc.integer());
  if (field.scalar !== undefined) return scalar(field.scalar);
  throw new Error('a field is of no known kind');
}

function anyValue(field: DescField, depth: number): fc.Arbitrary<unknown> {
  if (field.fieldKind === 'list') return fc.array(single(field, depth), { maxLength: MAX_ITEMS });
  if (field.fieldKind === 'map') return fc.dictionary(text, single(field, depth), { maxKeys: MAX_ITEMS });
  return single(field, depth);
}

/** Some of the fields, of which some are undefined. */
function anyInit<Desc extends DescMessage>(schema: Desc, depth = 0): fc.Arbitrary<MessageInitShape<Desc>> {
  const wanted = (field: DescField) => depth < MAX_DEPTH || field.message === undefined;
  const members = schema.members.flatMap((member): [string, fc.Arbitrary<unknown>][] => {
    if (member.kind === 'field')
      return wanted(member) ? [[member.localName, fc.option(anyValue(member, depth), { freq: 4, nil: undefined })]] : [];
    const cases = member.fields
      .filter(wanted)
      .map((field) => fc.record({ case: fc.constant(field.localName), value: anyValue(field, depth) }));
    return [[member.localName, fc.oneof(fc.constant({ case: undefined }), ...cases)]];
  });
  return fc.record(Object.fromEntries(members), { requiredKeys: [] }) as fc.Arbitrary<MessageInitShape<Desc>>;
}

/** A plain object, a message, or a message that nobody can change any more. */
export function anyShape<Desc extends DescMessage>(schema: Desc, depth = 0): fc.Arbitrary<MessageInitShape<Desc>> {
  // What stands for a JSON object is one.
  if (schema.typeName === 'google.protobuf.Struct') return fc.dictionary(text, fc.jsonValue({ maxDepth: 2 })) as never;
  const init = anyInit(schema, depth);
  const made = init.map((fields) => create(schema, fields));
  return fc.oneof(init, made, made.map(Object.freeze)) as fc.Arbitrary<MessageInitShape<Desc>>;
}
