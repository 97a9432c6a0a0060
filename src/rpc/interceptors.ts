/** The steps of every call for those that Connect serves, outermost first. */
import type { DescMessage, Message } from '@bufbuild/protobuf';
import type { Interceptor, StreamResponse, UnaryRequest } from '@connectrpc/connect';
import { callKey } from './call.ts';
import type { CallSteps } from './steps.ts';

async function* mapErrors<T>(items: AsyncIterable<T>, map: (error: unknown) => unknown): AsyncGenerator<T> {
  try {
    yield* items;
  } catch (error) {
    throw map(error);
  }
}

/** Turns what handlers throw into what the contract promises, and hands on the headers that they asked for. */
function outcomeInterceptor(steps: CallSteps): Interceptor {
  return (next) => async (request) => {
    const call = request.contextValues.get(callKey);
    const failureOf = (error: unknown): unknown => steps.failureOf(error, request.method, call, request.signal);
    try {
      const response = await next(request);
      if (call !== undefined) call.code = 'OK';
      const metadata = call?.metadata ?? [];
      for (let index = 0; index < metadata.length; index += 2) response.header.set(metadata[index] ?? '', metadata[index + 1] ?? '');
      if (!response.stream) return response;
      return { ...response, message: mapErrors(response.message, failureOf) } as StreamResponse;
    } catch (error) {
      throw failureOf(error);
    }
  };
}

/** Checks requests against the rules in the contract. Streams have no message yet: their handlers get checked requests too. */
function checkInterceptor({ check }: CallSteps): Interceptor {
  async function* checked(schema: DescMessage, messages: AsyncIterable<Message>): AsyncGenerator<Message> {
    for await (const message of messages) {
      check(schema, message);
      yield message;
    }
  }
  return (next) => (request) => {
    if (request.stream) return next({ ...request, message: checked(request.method.input, request.message) });
    check(request.method.input, (request as UnaryRequest).message);
    return next(request);
  };
}

export function interceptorsOf(steps: CallSteps): Interceptor[] {
  return [outcomeInterceptor(steps), checkInterceptor(steps)];
}
