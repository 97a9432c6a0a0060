import { create, type DescFile, fromBinary } from '@bufbuild/protobuf';
import { type FileDescriptorProto, FileDescriptorProtoSchema, file_google_protobuf_descriptor } from '@bufbuild/protobuf/wkt';
import { Code, createClient, createRouterTransport } from '@connectrpc/connect';
import { describe, expect, test } from 'vitest';
import { file_grpc_health_v1_health } from '../../gen/grpc/health/v1/health_pb.js';
import {
  file_grpc_reflection_v1_reflection,
  ServerReflection,
  type ServerReflectionRequest,
  ServerReflectionRequestSchema,
} from '../../gen/grpc/reflection/v1/reflection_pb.js';
import { ServerReflection as ServerReflectionV1Alpha } from '../../gen/grpc/reflection/v1alpha/reflection_pb.js';
import { file_messaging_v1_cache_service } from '../../gen/messaging/v1/cache_service_pb.js';
import { file_messaging_v1_message_service } from '../../gen/messaging/v1/message_service_pb.js';
import { reflectionRoutes } from '../../src/rpc/reflection.ts';

type Question = ServerReflectionRequest['messageRequest'];

const FILES: readonly DescFile[] = [
  file_messaging_v1_message_service,
  file_messaging_v1_cache_service,
  file_grpc_health_v1_health,
  file_grpc_reflection_v1_reflection,
];
const transport = createRouterTransport(reflectionRoutes(FILES));

async function* requests(questions: readonly Question[]) {
  for (const messageRequest of questions) yield create(ServerReflectionRequestSchema, { host: 'here', messageRequest });
}

/** All questions on one stream. */
async function ask(...questions: readonly Question[]) {
  const answers = [];
  for await (const response of createClient(ServerReflection, transport).serverReflectionInfo(requests(questions))) answers.push(response);
  return answers;
}

type Response = Awaited<ReturnType<typeof ask>>[number] | undefined;

function filesIn(response: Response): readonly FileDescriptorProto[] {
  const answer = response?.messageResponse;
  if (answer?.case !== 'fileDescriptorResponse') throw new Error(`expected files, got ${answer?.case}`);
  return answer.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
}

const namesIn = (response: Response) => filesIn(response).map((file) => file.name);
const symbol = (value: string): Question => ({ case: 'fileContainingSymbol', value });

describe('reflection', () => {
  test('lists the services of the files it was given, and no others', async () => {
    const [response] = await ask({ case: 'listServices', value: '*' });
    expect(response?.messageResponse.value).toMatchObject({
      service: [
        { name: 'grpc.health.v1.Health' },
        { name: 'grpc.reflection.v1.ServerReflection' },
        { name: 'messaging.v1.CacheService' },
        { name: 'messaging.v1.MessageService' },
      ],
    });
  });

  test.for([
    ['service', 'messaging.v1.MessageService', 'messaging/v1/message_service.proto'],
    ['method', 'messaging.v1.MessageService.GetMessage', 'messaging/v1/message_service.proto'],
    ['message', 'messaging.v1.Message', 'messaging/v1/message.proto'],
    ['field', 'messaging.v1.Message.to_address', 'messaging/v1/message.proto'],
    ['oneof', 'messaging.v1.WatchMessagesResponse.payload', 'messaging/v1/message_service.proto'],
    ['nested message', 'messaging.v1.WatchMessagesResponse.Change', 'messaging/v1/message_service.proto'],
    ['enum', 'messaging.v1.MessageStatus', 'messaging/v1/message.proto'],
    ['nested enum', 'messaging.v1.MessageEvent.Type', 'messaging/v1/message.proto'],
    ['enum value, beside its enum', 'messaging.v1.MESSAGE_STATUS_SENT', 'messaging/v1/message.proto'],
    ['value of a nested enum', 'messaging.v1.MessageEvent.TYPE_CREATED', 'messaging/v1/message.proto'],
    ['extension', 'buf.validate.field', 'buf/validate/validate.proto'],
    ['symbol of an import', 'google.protobuf.Timestamp', 'google/protobuf/timestamp.proto'],
  ])('finds the file that declares a name: %s', async ([, name, file]) => {
    const [response] = await ask(symbol(name ?? ''));
    expect(namesIn(response)[0]).toBe(file);
  });

  test('sends a file with everything it needs, so that a client can build it', async () => {
    const [response] = await ask({ case: 'fileByFilename', value: 'messaging/v1/message_service.proto' });
    const files = filesIn(response);
    const names = files.map((file) => file.name);
    expect(names).toContain('google/protobuf/descriptor.proto');
    expect(names).toHaveLength(new Set(names).size);
    for (const file of files) expect(names).toEqual(expect.arrayContaining(file.dependency));
  });

  test('keeps the validation rules in what it sends', async () => {
    const [response] = await ask(symbol('messaging.v1.GetMessageRequest'));
    const message = filesIn(response)[0]?.messageType.find(({ name }) => name === 'GetMessageRequest');
    const id = message?.field.find(({ name }) => name === 'id');
    expect(id?.options?.$unknown?.map(({ no }) => no)).toEqual([1159]);
  });

  test('sends an import once per stream, and what was asked for every time', async () => {
    const [first, second, again] = await ask(
      symbol('messaging.v1.MessageService'),
      symbol('messaging.v1.CacheService'),
      symbol('messaging.v1.CacheService'),
    );
    expect(namesIn(first)).toContain('buf/validate/validate.proto');
    expect(namesIn(second)).toEqual(['messaging/v1/cache_service.proto']);
    expect(namesIn(again)).toEqual(['messaging/v1/cache_service.proto']);
  });

  test('finds extensions by the message they extend', async () => {
    const fieldOptions = 'google.protobuf.FieldOptions';
    const [file, numbers, none] = await ask(
      {
        case: 'fileContainingExtension',
        value: { $typeName: 'grpc.reflection.v1.ExtensionRequest', containingType: fieldOptions, extensionNumber: 1159 },
      },
      { case: 'allExtensionNumbersOfType', value: fieldOptions },
      { case: 'allExtensionNumbersOfType', value: 'messaging.v1.Message' },
    );
    expect(namesIn(file)[0]).toBe('buf/validate/validate.proto');
    expect(numbers?.messageResponse.value).toMatchObject({ baseTypeName: fieldOptions, extensionNumber: [1159, 1160] });
    expect(none?.messageResponse.value).toMatchObject({ baseTypeName: 'messaging.v1.Message', extensionNumber: [] });
  });

  test('answers what it does not know with NOT_FOUND and goes on', async () => {
    const questions: readonly Question[] = [
      symbol('messaging.v1.Nothing'),
      symbol(''),
      { case: 'fileByFilename', value: 'messaging/v1/message_service' },
      {
        case: 'fileContainingExtension',
        value: { $typeName: 'grpc.reflection.v1.ExtensionRequest', containingType: 'messaging.v1.Message', extensionNumber: 1 },
      },
      { case: 'allExtensionNumbersOfType', value: 'messaging.v1.Nothing' },
    ];
    const answers = await ask(...questions, { case: undefined }, symbol('messaging.v1.Message'));
    const codes = answers.map(({ messageResponse }) => (messageResponse.case === 'errorResponse' ? messageResponse.value.errorCode : 0));
    expect(codes).toEqual([...questions.map(() => Code.NotFound), Code.InvalidArgument, 0]);
  });

  test('echoes host and request', async () => {
    const [response] = await ask(symbol('messaging.v1.Message'));
    expect(response).toMatchObject({
      validHost: 'here',
      originalRequest: { host: 'here', messageRequest: symbol('messaging.v1.Message') },
    });
  });

  test('answers v1alpha exactly as v1', async () => {
    const questions = [symbol('messaging.v1.MessageService'), symbol('messaging.v1.Nothing')];
    const client = createClient(ServerReflectionV1Alpha, transport);
    const alpha = [];
    for await (const { messageResponse } of client.serverReflectionInfo(
      (async function* () {
        for (const messageRequest of questions) yield { host: '', messageRequest: symbolAlpha(messageRequest) };
      })(),
    )) {
      alpha.push(messageResponse.value);
    }
    const withoutTypes = (value: unknown) => JSON.parse(JSON.stringify(value, (key, inner) => (key === '$typeName' ? undefined : inner)));
    expect(withoutTypes(alpha)).toEqual(withoutTypes((await ask(...questions)).map(({ messageResponse }) => messageResponse.value)));
  });

  test('knows the descriptor of descriptors when asked to serve it', async () => {
    const client = createClient(ServerReflection, createRouterTransport(reflectionRoutes([file_google_protobuf_descriptor])));
    for await (const response of client.serverReflectionInfo(requests([symbol('google.protobuf.FieldOptions')]))) {
      expect(namesIn(response)).toEqual(['google/protobuf/descriptor.proto']);
    }
  });
});

function symbolAlpha(question: Question) {
  return { case: 'fileContainingSymbol', value: String(question.value) } as const;
}
