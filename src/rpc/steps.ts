/** What every call goes through between the transport and its handler, and when it failed: one definition for both lanes. */
import type { DescMessage, DescMethod, Message } from '@bufbuild/protobuf';
import { createValidator, type Violation } from '@bufbuild/protovalidate';
import type { ConnectError } from '@connectrpc/connect';
import { DomainError, type FieldViolation } from '../domain/errors.ts';
import type { Log } from '../telemetry/log.ts';
import type { Call } from './call.ts';
import { withoutBoundedDurations } from './duration-bounds.ts';
import { fullName } from './endpoint.ts';
import { errorWith, isBug, toConnectError } from './errors.ts';
import { valueViolations } from './value-rules.ts';

export interface CallSteps {
  /** Throws field_invalid for a request that breaks a rule of the contract. */
  check(schema: DescMessage, request: Message): void;
  /**
   * What the caller is told when the handler or check() threw `error`: what the contract promises, of bugs nothing. Records the code and
   * logs bugs and lost dependencies. `signal`: the handler's, undefined when it never asked for it.
   */
  failureOf(error: unknown, method: DescMethod, call: Call | undefined, signal: AbortSignal | undefined): ConnectError;
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

const NONE: readonly FieldViolation[] = [];

export function createSteps(log: Log): CallSteps {
  const validator = createValidator();
  const unchecked = new Map<DescMessage, (request: Message) => Message>();
  const uncheckedPart = (schema: DescMessage): ((request: Message) => Message) => {
    const known = unchecked.get(schema) ?? withoutBoundedDurations(schema);
    unchecked.set(schema, known);
    return known;
  };
  return {
    check(schema, request) {
      const result = validator.validate(schema, uncheckedPart(schema)(request));
      if (result.kind === 'error') throw result.error;
      const broken = result.kind === 'invalid' ? result.violations.map(violationOf) : NONE;
      const ill = valueViolations(schema, request as unknown as Readonly<Record<string, unknown>>);
      if (broken.length === 0 && ill.length === 0) return;
      const fields = [...broken, ...ill];
      const first = fields[0] as FieldViolation;
      const sentence = first.field === '' ? first.description : `${first.field}: ${first.description}`;
      const text = fields.length === 1 ? sentence : `${fields.length} rules are broken, the first: ${sentence}`;
      throw new DomainError('field_invalid', text, { fields });
    },

    failureOf(error, method, call, signal) {
      // A handler that heeds its signal fails with the reason of the abort; that is no bug.
      const gone = signal?.aborted === true && error === signal.reason && isBug(error);
      const failure = gone ? errorWith('canceled', 'the caller went away') : toConnectError(error, method.input);
      if (call !== undefined) call.code = failure.code;
      const rpc = fullName(method);
      if (!gone && isBug(error)) log.error({ rpc, caller: call?.caller, err: error }, 'call failed by a bug');
      else if (error instanceof DomainError && error.cause !== undefined)
        log.warn({ rpc, caller: call?.caller, reason: error.code, err: error }, 'call failed');
      return failure;
    },
  };
}
