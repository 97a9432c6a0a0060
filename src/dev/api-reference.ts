/**
 * A plugin of `buf generate` (buf.gen.yaml): writes the API reference, gen/api.md, from the comments, types and rules of the contract.
 * Standard input and output belong to buf.
 */
import {
  createRegistry,
  type DescEnum,
  type DescField,
  type DescFile,
  type DescMessage,
  type DescMethod,
  type DescService,
  getOption,
  type JsonObject,
  type JsonValue,
  type Registry,
  ScalarType,
  toJson,
} from '@bufbuild/protobuf';
import { MethodOptions_IdempotencyLevel as IdempotencyLevel } from '@bufbuild/protobuf/wkt';
import { createEcmaScriptPlugin, getComments, runNodeJs, type Schema } from '@bufbuild/protoplugin';
import { celInWords, rulesInWords } from './api-rules.ts';

const CONTRACT = 'messaging.v1';
/** What most readers come for; the others follow by name. */
const FIRST: readonly string[] = ['MessageService', 'ConversationService'];
const ERROR_REASONS = `${CONTRACT}.ErrorReason`;

type Described = DescMessage | DescEnum | DescService | DescMethod | DescField | DescEnum['values'][number];

/** Lines of one paragraph are joined; a table cell has no line breaks. */
function commentOf(described: Described): string {
  const text = (getComments(described).leading ?? '').trim().replaceAll(/\s*\n\s*/g, ' ');
  if (text === '') throw new Error(`${described.name} has no comment`);
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;');
}

const nameOf = ({ typeName }: DescMessage | DescEnum): string =>
  typeName.startsWith(`${CONTRACT}.`) ? typeName.slice(CONTRACT.length + 1) : typeName;
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^a-z0-9_ -]/g, '')
    .replaceAll(' ', '-');
const isOurs = ({ typeName }: DescMessage | DescEnum): boolean => typeName.startsWith(`${CONTRACT}.`);
const linkTo = (type: DescMessage | DescEnum): string => (isOurs(type) ? `[${nameOf(type)}](#${anchorOf(nameOf(type))})` : nameOf(type));
const scalarName = (scalar: ScalarType): string => (ScalarType[scalar] ?? '').toLowerCase();

function typeOf(field: DescField): string {
  switch (field.fieldKind) {
    case 'scalar':
      return scalarName(field.scalar);
    case 'enum':
      return linkTo(field.enum);
    case 'message':
      return linkTo(field.message);
    case 'list':
      return `repeated ${field.listKind === 'scalar' ? scalarName(field.scalar) : linkTo(field.listKind === 'enum' ? field.enum : field.message)}`;
    case 'map':
      return `map of ${scalarName(field.mapKey)} to ${field.mapKind === 'scalar' ? scalarName(field.scalar) : linkTo(field.mapKind === 'enum' ? field.enum : field.message)}`;
    default:
      return field satisfies never;
  }
}

/** What the option says, with names as in the .proto file; undefined: nothing. */
function optionOf(described: DescField | DescMessage, name: string, registry: Registry): JsonValue | undefined {
  const extension = registry.getExtension(name);
  if (extension?.message === undefined) throw new Error(`${name} is not among the imports`);
  const value = getOption(described, extension);
  return value === undefined || typeof value !== 'object'
    ? undefined
    : toJson(extension.message, value as Parameters<typeof toJson>[1], { registry, useProtoFieldName: true });
}

function fieldRow(field: DescField, registry: Registry): string {
  const rules = optionOf(field, 'buf.validate.field', registry);
  const valueName = (number: number): string => `\`${field.enum?.value[number]?.name ?? number}\``;
  const oneof = field.oneof === undefined ? [] : [`one of \`${field.oneof.name}\``];
  const phrases = [...oneof, ...(rules === undefined ? [] : rulesInWords(rules, valueName))];
  return `| \`${field.name}\` | ${field.number} | ${typeOf(field)} | ${commentOf(field)} | ${phrases.join('; ').replaceAll('|', '\\|')} |`;
}

function messageLines(message: DescMessage, level: string, registry: Registry): string[] {
  const rules = optionOf(message, 'buf.validate.message', registry) as JsonObject | undefined;
  const whole = celInWords(rules?.['cel']).map((rule) => `- ${rule}`);
  return [
    `${level} ${nameOf(message)}`,
    '',
    commentOf(message),
    '',
    ...(message.fields.length === 0
      ? ['No fields.', '']
      : [
          '| field | no. | type | meaning | rules |',
          '|---|---|---|---|---|',
          ...message.fields.map((field) => fieldRow(field, registry)),
          '',
        ]),
    ...(whole.length === 0 ? [] : ['Of the whole:', '', ...whole, '']),
    ...message.nestedEnums.flatMap((nested) => enumLines(nested, level)),
    ...message.nestedMessages.filter((nested) => !isMapEntry(nested)).flatMap((nested) => messageLines(nested, level, registry)),
  ];
}

const isMapEntry = ({ proto }: DescMessage): boolean => proto.options?.mapEntry === true;

function enumLines(type: DescEnum, level: string): string[] {
  const rows = type.values.map((value) => `| \`${value.name}\` | ${value.number} | ${commentOf(value)} |`);
  return [`${level} ${nameOf(type)}`, '', commentOf(type), '', '| value | no. | meaning |', '|---|---|---|', ...rows, ''];
}

const REPEATING: Readonly<Record<IdempotencyLevel, string>> = {
  [IdempotencyLevel.NO_SIDE_EFFECTS]: 'No side effects.',
  [IdempotencyLevel.IDEMPOTENT]: 'Idempotent.',
  [IdempotencyLevel.IDEMPOTENCY_UNKNOWN]: '',
};

function methodLines(method: DescMethod, registry: Registry): string[] {
  const returned = method.methodKind === 'server_streaming' ? `stream ${method.output.name}` : method.output.name;
  return [
    `### ${method.parent.name}.${method.name}`,
    '',
    `\`rpc ${method.name}(${method.input.name}) returns (${returned})\``,
    '',
    [commentOf(method), REPEATING[method.idempotency]].join(' ').trim(),
    '',
    ...messageLines(method.input, '####', registry),
    ...messageLines(method.output, '####', registry),
  ];
}

/** Reasons without their prefix, as they are on the wire; each comment begins with the gRPC code. */
function errorLines(reasons: DescEnum): string[] {
  const rows = reasons.values
    .filter(({ number }) => number !== 0)
    .map((value) => {
      const [, code, retry, meaning] = /^([A-Z_]+)( with RetryInfo)?\. (.+)$/.exec(commentOf(value)) ?? [];
      if (code === undefined) throw new Error(`the comment of ${value.name} does not begin with a gRPC code`);
      return `| \`${value.name.replace(/^ERROR_REASON_/, '')}\` | ${code} | ${retry === undefined ? '' : 'yes'} | ${meaning} |`;
    });
  const intro =
    'Every error carries `google.rpc.ErrorInfo` with domain `messaging.v1`, one of these reasons and facts as metadata. FIELD_INVALID also ' +
    'carries `google.rpc.BadRequest`. Those with RetryInfo say when to try again at the earliest.';
  return ['## Errors', '', intro, '', '| reason | gRPC code | RetryInfo | meaning |', '|---|---|---|---|', ...rows, ''];
}

function documentOf(files: readonly DescFile[], registry: Registry): string[] {
  const found = files.flatMap((file) => file.services);
  const services = [
    ...FIRST.flatMap((name) => found.filter((service) => service.name === name)),
    ...found.filter(({ name }) => !FIRST.includes(name)),
  ];
  const spoken = new Set(services.flatMap(({ methods }) => methods.flatMap(({ input, output }) => [input, output])));
  const messages = files.flatMap((file) => file.messages).filter((message) => !spoken.has(message));
  const enums = files.flatMap((file) => file.enums);
  const reasons = enums.find(({ typeName }) => typeName === ERROR_REASONS);
  if (reasons === undefined) throw new Error(`${ERROR_REASONS} is missing`);
  const contents = services.map(({ name, methods }) => {
    const links = methods.map((method) => `[${method.name}](#${anchorOf(`${name}.${method.name}`)})`);
    return `- [${name}](#${anchorOf(name)}): ${links.join(', ')}`;
  });
  return [
    `# API reference of ${CONTRACT}`,
    '',
    'Written by `make gen` from the comments and rules of `proto/`; never edited. A request that breaks a rule fails with INVALID_ARGUMENT, FIELD_INVALID.',
    '',
    ...contents,
    '- [Messages](#messages), [Enums](#enums), [Errors](#errors)',
    '',
    ...services.flatMap((service) => [
      `## ${service.name}`,
      '',
      commentOf(service),
      '',
      ...service.methods.flatMap((method) => methodLines(method, registry)),
    ]),
    '## Messages',
    '',
    ...messages.flatMap((message) => messageLines(message, '###', registry)),
    '## Enums',
    '',
    ...enums.filter((type) => type !== reasons).flatMap((type) => enumLines(type, '###')),
    ...errorLines(reasons),
  ];
}

function generate({ files: wanted, allFiles, generateFile }: Schema): void {
  const files = wanted.filter(({ proto }) => proto.package === CONTRACT);
  // buf asks once more for what the contract imports.
  if (files.length === 0) return;
  const document = generateFile('api.md');
  for (const line of documentOf(files, createRegistry(...allFiles))) document.print(line);
}

runNodeJs(createEcmaScriptPlugin({ name: 'api-reference', version: 'v1', generateTs: generate }));
