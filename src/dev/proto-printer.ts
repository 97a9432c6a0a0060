/** Prints a file descriptor as .proto source: names, numbers, types, defaults and extensions; comments and custom options are left out. */
import {
  type DescriptorProto,
  type EnumDescriptorProto,
  type FieldDescriptorProto,
  type FileDescriptorProto,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
} from '@bufbuild/protobuf/wkt';

const indent = (lines: readonly string[]): string[] => lines.map((line) => `  ${line}`);
const block = (head: string, body: readonly string[]): string[] => [`${head} {`, ...indent(body), '}'];

function typeName(field: FieldDescriptorProto): string {
  if (field.typeName !== '') return field.typeName;
  return Type[field.type].toLowerCase();
}

function printField(field: FieldDescriptorProto, proto2: boolean): string {
  const inOneof = field.oneofIndex !== undefined && Object.hasOwn(field, 'oneofIndex') && !field.proto3Optional;
  let label = '';
  if (field.label === Label.REPEATED) label = 'repeated ';
  else if (field.label === Label.REQUIRED) label = 'required ';
  else if (!inOneof && (proto2 || field.proto3Optional)) label = 'optional ';
  const quoted = field.type === Type.STRING ? JSON.stringify(field.defaultValue) : field.defaultValue;
  const options = field.defaultValue === '' ? '' : ` [default = ${quoted}]`;
  return `${label}${typeName(field)} ${field.name} = ${field.number}${options};`;
}

function printEnum(descriptor: EnumDescriptorProto): string[] {
  return block(
    `enum ${descriptor.name}`,
    descriptor.value.map((value) => `${value.name} = ${value.number};`),
  );
}

function printExtensions(extensions: readonly FieldDescriptorProto[], proto2: boolean): string[] {
  return extensions.flatMap((extension) => block(`extend ${extension.extendee}`, [printField(extension, proto2)]));
}

function printMessage(message: DescriptorProto, proto2: boolean): string[] {
  const isIn = (field: FieldDescriptorProto, index: number): boolean =>
    Object.hasOwn(field, 'oneofIndex') && field.oneofIndex === index && !field.proto3Optional;
  const loose = message.field.filter((field) => !message.oneofDecl.some((_, index) => isIn(field, index)));
  const oneofs = message.oneofDecl.flatMap((oneof, index) => {
    const members = message.field.filter((field) => isIn(field, index));
    return members.length === 0
      ? []
      : block(
          `oneof ${oneof.name}`,
          members.map((field) => printField(field, proto2)),
        );
  });
  return block(`message ${message.name}`, [
    ...message.enumType.flatMap(printEnum),
    ...message.nestedType.flatMap((nested) => printMessage(nested, proto2)),
    ...loose.map((field) => printField(field, proto2)),
    ...oneofs,
    ...message.extensionRange.map(({ start, end }) => `extensions ${start} to ${end > 536_870_911 ? 'max' : end - 1};`),
    ...printExtensions(message.extension, proto2),
  ]);
}

/** Source text of the file; map fields are not supported because no printed file has one. */
export function printProtoFile(file: FileDescriptorProto): string {
  const proto2 = file.syntax === '' || file.syntax === 'proto2';
  return [
    `syntax = "${proto2 ? 'proto2' : file.syntax}";`,
    `package ${file.package};`,
    ...file.dependency.map((path) => `import "${path}";`),
    ...file.enumType.flatMap(printEnum),
    ...file.messageType.flatMap((message) => printMessage(message, proto2)),
    ...printExtensions(file.extension, proto2),
    '',
  ].join('\n');
}
