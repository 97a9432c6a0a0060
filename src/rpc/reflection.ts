/** gRPC server reflection, v1 and v1alpha: what lets grpcurl and `buf curl` call this server without .proto files. */
import type { DescFile } from '@bufbuild/protobuf';
import { Code, type ConnectRouter } from '@connectrpc/connect';
import {
  type ServerReflectionRequest as RequestV1,
  ServerReflection as ServerReflectionV1,
} from '../../gen/grpc/reflection/v1/reflection_pb.js';
import {
  type ServerReflectionRequest as RequestV1Alpha,
  ServerReflection as ServerReflectionV1Alpha,
} from '../../gen/grpc/reflection/v1alpha/reflection_pb.js';
import { type DescriptorIndex, type IndexedFile, indexDescriptors } from './descriptor-index.ts';

/** v1 and v1alpha differ in nothing but their package. */
type Question = (RequestV1 | RequestV1Alpha)['messageRequest'];

type Answer =
  | { readonly case: 'fileDescriptorResponse'; readonly value: { readonly fileDescriptorProto: Uint8Array[] } }
  | { readonly case: 'allExtensionNumbersResponse'; readonly value: { readonly baseTypeName: string; readonly extensionNumber: number[] } }
  | { readonly case: 'listServicesResponse'; readonly value: { readonly service: { readonly name: string }[] } }
  | { readonly case: 'errorResponse'; readonly value: { readonly errorCode: Code; readonly errorMessage: string } };

function failure(errorCode: Code, errorMessage: string): Answer {
  return { case: 'errorResponse', value: { errorCode, errorMessage } };
}

/** The file and all it imports, but of the imports only what this stream has not seen yet: what grpc-go does, and clients expect. */
function withUnsentImports(index: DescriptorIndex, wanted: IndexedFile, sent: Set<string>): Uint8Array[] {
  const reached = new Set([wanted]);
  for (const file of reached) {
    for (const name of file.imports) {
      const imported = index.files.get(name);
      if (imported !== undefined) reached.add(imported);
    }
  }
  const fresh = [...reached].filter((file) => file === wanted || !sent.has(file.name));
  for (const file of fresh) sent.add(file.name);
  return fresh.map((file) => file.bytes);
}

function answer(index: DescriptorIndex, question: Question, sent: Set<string>): Answer {
  const file = (found: IndexedFile | undefined, what: string): Answer =>
    found === undefined
      ? failure(Code.NotFound, `unknown ${what}`)
      : { case: 'fileDescriptorResponse', value: { fileDescriptorProto: withUnsentImports(index, found, sent) } };
  switch (question.case) {
    case 'listServices':
      return { case: 'listServicesResponse', value: { service: index.services.map((name) => ({ name })) } };
    case 'fileByFilename':
      return file(index.files.get(question.value), `file: ${question.value}`);
    case 'fileContainingSymbol':
      return file(index.symbols.get(question.value), `symbol: ${question.value}`);
    case 'fileContainingExtension': {
      const { containingType, extensionNumber } = question.value;
      return file(index.extensions.get(containingType)?.get(extensionNumber), `extension: ${containingType} ${extensionNumber}`);
    }
    case 'allExtensionNumbersOfType': {
      if (!index.messages.has(question.value)) return failure(Code.NotFound, `unknown message: ${question.value}`);
      const numbers = [...(index.extensions.get(question.value)?.keys() ?? [])].sort((a, b) => a - b);
      return { case: 'allExtensionNumbersResponse', value: { baseTypeName: question.value, extensionNumber: numbers } };
    }
    case undefined:
      return failure(Code.InvalidArgument, 'message_request is not set');
    default:
      return question satisfies never;
  }
}

/**
 * Answers about the services of `files` and everything those import. One response per request, in order; a failed request is an
 * ErrorResponse with a gRPC status code and leaves the stream open, which ends when the caller ends it.
 */
export function reflectionRoutes(files: readonly DescFile[]): (router: ConnectRouter) => void {
  const index = indexDescriptors(files);
  async function* serverReflectionInfo<R extends { readonly host: string; readonly messageRequest: Question }>(requests: AsyncIterable<R>) {
    const sent = new Set<string>();
    for await (const request of requests) {
      yield { validHost: request.host, originalRequest: request, messageResponse: answer(index, request.messageRequest, sent) };
    }
  }
  return (router) => {
    router.service(ServerReflectionV1, { serverReflectionInfo });
    router.service(ServerReflectionV1Alpha, { serverReflectionInfo });
  };
}
