/**
 * Durations between two bounds, checked here: protovalidate evaluates such rules as CEL expressions, which costs more than a cached read.
 * What is not plainly right is left to it, and to its words.
 */
import { type DescField, type DescMessage, getOption, hasOption, type Message } from '@bufbuild/protobuf';
import { type Duration, DurationSchema } from '@bufbuild/protobuf/wkt';
import { type DurationRules, field as fieldRules, message as messageRules } from '../../gen/buf/validate/validate_pb.js';

interface BoundedField {
  readonly name: string;
  readonly minNs: number;
  readonly maxNs: number;
}

const NS_PER_SECOND = 1_000_000_000;

/** Exact up to 104 days. */
const nanoseconds = ({ seconds, nanos }: Duration): number => Number(seconds) * NS_PER_SECOND + nanos;

/** The bounds, when the rules are nothing else. */
function boundsOf({ greaterThan, lessThan, const: only, in: allowed, notIn }: DurationRules): Omit<BoundedField, 'name'> | undefined {
  if (greaterThan.case !== 'gte' || lessThan.case !== 'lte' || only !== undefined || allowed.length + notIn.length > 0) return undefined;
  const [minNs, maxNs] = [nanoseconds(greaterThan.value), nanoseconds(lessThan.value)];
  return Number.isSafeInteger(minNs) && Number.isSafeInteger(maxNs) && minNs <= maxNs ? { minNs, maxNs } : undefined;
}

function boundedField(field: DescField): BoundedField | undefined {
  if (field.fieldKind !== 'message' || field.message.typeName !== DurationSchema.typeName || !hasOption(field, fieldRules))
    return undefined;
  const { type, cel, celExpression } = getOption(field, fieldRules);
  const bounds = type.case === 'duration' && cel.length + celExpression.length === 0 ? boundsOf(type.value) : undefined;
  return bounds && { name: field.localName, ...bounds };
}

const isWithin = (duration: Duration, { minNs, maxNs }: BoundedField): boolean => {
  const ns = nanoseconds(duration);
  return ns >= minNs && ns <= maxNs;
};

/** A shallow copy of `request` without the durations that are within their bounds; `request` itself when it has none. */
export function withoutBoundedDurations(schema: DescMessage): (request: Message) => Message {
  // Rules over several fields may look at them.
  const fields = hasOption(schema, messageRules) ? [] : schema.fields.flatMap((field) => boundedField(field) ?? []);
  return (request) => {
    const values = request as unknown as Readonly<Record<string, Duration | undefined>>;
    let copy: Record<string, unknown> | undefined;
    for (const field of fields) {
      const duration = values[field.name];
      if (duration === undefined || !isWithin(duration, field)) continue;
      copy ??= { ...values };
      copy[field.name] = undefined;
    }
    return (copy as unknown as Message | undefined) ?? request;
  };
}
