/** Arbitrary requests whose fields hold what their names promise: most of them are understood, and many are valid. */
import {
  create,
  type DescEnum,
  type DescField,
  type DescMessage,
  type DescMethodUnary,
  type JsonValue,
  type MessageInitShape,
  type MessageShape,
  ScalarType,
} from '@bufbuild/protobuf';
import fc from 'fast-check';
import { CacheService } from '../../gen/messaging/v1/cache_service_pb.js';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { SuppressionService } from '../../gen/messaging/v1/suppression_service_pb.js';

const weird = fc.oneof(
  { weight: 30, arbitrary: fc.string({ unit: 'binary', minLength: 1, maxLength: 30 }).map((text) => text.replaceAll(/[\0\r\n<>]/g, '')) },
  { weight: 20, arbitrary: fc.constantFrom('"', "' & | ! :*", '%_\\', '-"x" or', '\u202e\ufeff', '\u0001', ' ') },
  { weight: 1, arbitrary: fc.constantFrom('x'.repeat(5_000), '\0', '\r\n') },
);

/** What a field of this name may hold. */
function sensible(name: string, anId: fc.Arbitrary<string>): fc.Arbitrary<string> {
  if (/(^|_)ids?$/.test(name) && !name.startsWith('provider'))
    return /request|parent|conversation_id$/.test(name) ? fc.oneof(fc.constant(''), anId) : anId;
  if (/^(from_address|participant_from)$/.test(name)) return fc.constantFrom('+14155552671', 'us@example.com', '12345');
  if (/address|participant/.test(name)) return fc.constantFrom('+14155552672', '+14155552673', 'them@example.com');
  if (name === 'url') return fc.webUrl({ validSchemes: ['https'], size: 'small' });
  if (/token|etag|reply_to|content_id/.test(name)) return fc.constantFrom('', '', '', name === 'reply_to' ? 'a@example.com' : 'v1');
  if (name === 'provider_status') return fc.constantFrom('sent', 'delivered', 'failed', 'undelivered', 'bounce', 'open');
  return weird;
}

function textOf(name: string, anId: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.oneof({ weight: 30, arbitrary: sensible(name, anId) }, { weight: 1, arbitrary: weird });
}

const int32 = fc.oneof({ weight: 9, arbitrary: fc.nat(210) }, { weight: 1, arbitrary: fc.integer() });
const int64 = fc.oneof(
  { weight: 9, arbitrary: fc.bigInt(0n, 5n) },
  { weight: 1, arbitrary: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }) },
);
const seconds = fc.oneof(
  { weight: 12, arbitrary: fc.bigInt(1n, 300n) },
  { weight: 2, arbitrary: fc.constantFrom(1_700_000_000n, -62135596800n, 253402300799n) },
  { weight: 1, arbitrary: int64 },
);
const nanos = fc.oneof(
  { weight: 12, arbitrary: fc.constant(0) },
  { weight: 3, arbitrary: fc.nat(999_999_999) },
  { weight: 1, arbitrary: fc.integer() },
);
const json: fc.Arbitrary<JsonValue> = fc.jsonValue({ maxDepth: 4, stringUnit: 'binary' }) as fc.Arbitrary<JsonValue>;
const struct = fc.dictionary(fc.string({ unit: 'binary', maxLength: 20 }), json, { maxKeys: 4 });

function enumValue({ values }: DescEnum): fc.Arbitrary<number> {
  const numbers = values.map(({ number }) => number);
  return fc.oneof(
    { weight: 30, arbitrary: fc.constantFrom(...numbers.slice(1), ...numbers.slice(1), 0) },
    { weight: 1, arbitrary: fc.integer() },
  );
}

function scalar(type: ScalarType, name: string, anId: fc.Arbitrary<string>): fc.Arbitrary<unknown> {
  if (type === ScalarType.STRING) return textOf(name, anId);
  if (type === ScalarType.BOOL) return fc.boolean();
  if (type === ScalarType.INT64) return int64;
  if (type === ScalarType.INT32) return int32;
  if (type === ScalarType.DOUBLE) return fc.double();
  throw new Error(`requests have no scalar ${ScalarType[type]} yet`);
}

function single(field: DescField, anId: fc.Arbitrary<string>): fc.Arbitrary<unknown> {
  if (field.enum !== undefined) return enumValue(field.enum);
  if (field.message !== undefined) return message(field.message, anId);
  if (field.scalar !== undefined) return scalar(field.scalar, field.name, anId);
  throw new Error('a field is of no known kind');
}

/** Addresses and content of one channel, which chance alone would rarely hit upon. */
const coherent: fc.Arbitrary<Record<string, unknown>> = fc.constantFrom(
  { fromAddress: '+14155552671', toAddress: '+14155552672', messageType: 1, attachments: [], email: undefined, provider: 1 },
  { fromAddress: '+14155552671', toAddress: '+14155552672', messageType: 2, email: undefined, provider: 1 },
  { fromAddress: 'us@example.com', toAddress: 'them@example.com', messageType: 3, provider: 2 },
);
const hasContent = (schema: DescMessage): boolean =>
  ['messaging.v1.OutboundMessage', 'messaging.v1.ReceiveMessageRequest'].includes(schema.typeName);

function message(schema: DescMessage, anId: fc.Arbitrary<string>): fc.Arbitrary<unknown> {
  if (schema.typeName === 'google.protobuf.Struct') return struct;
  if (schema.typeName === 'google.protobuf.Timestamp' || schema.typeName === 'google.protobuf.Duration') {
    return fc.record({ seconds, nanos }).map((value) => create(schema, value as MessageInitShape<DescMessage>));
  }
  const fields = schema.fields.map((field) => {
    const value = field.fieldKind === 'list' ? fc.uniqueArray(single(field, anId), { maxLength: 3 }) : single(field, anId);
    return [field.localName, fc.option(value, { freq: 8, nil: undefined })] as const;
  });
  const record: fc.Arbitrary<object> = fc.record(Object.fromEntries(fields));
  const aligned = fc.tuple(record, fc.option(coherent, { freq: 5 })).map(([value, more]) => ({ ...value, ...more }));
  return (hasContent(schema) ? aligned : record).map((value) => create(schema, value as MessageInitShape<DescMessage>));
}

/** A request that is often valid. `ids`: those of rows that exist, so that it gets past "not found". */
export function anyRequest<Desc extends DescMessage>(schema: Desc, ids: () => readonly string[]): fc.Arbitrary<MessageShape<Desc>> {
  const known = fc.nat().map((index) => ids()[index % ids().length] ?? '');
  const anId = fc.oneof({ weight: 6, arbitrary: known }, { weight: 1, arbitrary: fc.uuid() });
  // Bias towards small values would leave most required fields out.
  return fc.noBias(message(schema, anId) as fc.Arbitrary<MessageShape<Desc>>);
}

/** Every unary method of the contract. */
export const unaryMethods = [MessageService, ConversationService, ProviderEventService, SuppressionService, CacheService].flatMap(
  (service) => service.methods.filter((method) => method.methodKind === 'unary'),
) as DescMethodUnary[];
