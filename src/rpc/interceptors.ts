/** Steps every call takes between the transport and its handler, outermost first. */
import type { DescMessage, Message } from '@bufbuild/protobuf';
import { createValidator, type Violation } from '@bufbuild/protovalidate';
import type { Interceptor, StreamResponse, UnaryRequest } from '@connectrpc/connect';
import { DomainError, type FieldViolation } from '../domain/errors.ts';
import type { Log } from '../telemetry/log.ts';
import { callKey } from './call.ts';
import { errorWith, isBug, toConnectError } from './errors.ts';
import { valueViolations } from './value-rules.ts';

async function* mapErrors<T>(items: AsyncIterable<T>, map: (error: unknown) => unknown): AsyncGenerator<T> {
  try {
    yield* items;
  } catch (error) {
    throw map(error);
  }
}

/** Turns what handlers throw into what the contract promises, records the code and logs bugs and lost dependencies. */
export function errorInterceptor(log: Log): Interceptor {
  return (next) => async (request) => {
    const call = request.contextValues.get(callKey);
    const translate = (error: unknown): unknown => {
      // A handler that heeds its signal fails with the reason of the abort; that is no bug.
      const gone = request.signal.aborted && error === request.signal.reason && isBug(error);
      const translated = gone ? errorWith('canceled', 'the caller went away') : toConnectError(error, request.method.input);
      if (call !== undefined) call.code = translated.code;
      const rpc = `${request.service.typeName}/${request.method.name}`;
      if (!gone && isBug(error)) log.error({ rpc, err: error }, 'call failed by a bug');
      else if (error instanceof DomainError && error.cause !== undefined) log.warn({ rpc, reason: error.code, err: error }, 'call failed');
      return translated;
    };
    try {
      const response = await next(request);
      if (call !== undefined) call.code = 'OK';
      if (!response.stream) return response;
      return { ...response, message: mapErrors(response.message, translate) } as StreamResponse;
    } catch (error) {
      throw translate(error);
    }
  };
}

/** Rules over several fields are named `field.rule` in the contract, so that the error can point at one. */
function fieldOfRule({ ruleId, rule }: Violation): string {
  const [first] = rule;
  const isOwnRule = first?.kind === 'field' && first.name === 'cel';
  return rule.length === 0 || isOwnRule ? (/^([a-z_]+)\./.exec(ruleId)?.[1] ?? '') : '';
}

function violationOf(violation: Violation): FieldViolation {
  const path = violation.field.map((part) =>
    part.kind === 'field' ? `.${part.name}` : part.kind === 'list_sub' ? `[${part.index}]` : part.kind === 'map_sub' ? '[…]' : '',
  );
  const field = [path.join('').replace(/^\./, ''), fieldOfRule(violation)].filter((part) => part !== '').join('.');
  return { field, description: violation.message === '' ? `breaks the rule ${violation.ruleId}` : violation.message };
}

/** Checks requests against the rules in the contract. Streams have no message yet: their handlers get checked requests too. */
export function validationInterceptor(): Interceptor {
  const validator = createValidator();
  const check = (schema: DescMessage, message: Message): void => {
    const result = validator.validate(schema, message);
    if (result.kind === 'error') throw result.error;
    const broken = result.kind === 'invalid' ? result.violations.map(violationOf) : [];
    const fields = [...broken, ...valueViolations(schema, { ...message })];
    const [first] = fields;
    if (first === undefined) return;
    const sentence = first.field === '' ? first.description : `${first.field}: ${first.description}`;
    const text = fields.length === 1 ? sentence : `${fields.length} rules are broken, the first: ${sentence}`;
    throw new DomainError('field_invalid', text, { fields });
  };
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
