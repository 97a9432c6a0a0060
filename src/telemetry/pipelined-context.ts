/**
 * With automatic pipelining ioredis sends the commands of many callers together, in the context of the first. Left so, the spans of all
 * of them would hang below the first caller's trace. This remembers who asked for each command.
 */
import { type Context, context } from '@opentelemetry/api';
import { Hook } from 'import-in-the-middle';

type SendCommand = (this: unknown, command: object, ...rest: readonly unknown[]) => unknown;

interface Sender {
  readonly prototype: { sendCommand: SendCommand };
}

/** Both classes of the ioredis package; exported for its test. */
export interface Senders {
  readonly Pipeline: Sender;
  readonly Redis: Sender;
}

export function keepCallersContext({ Pipeline, Redis }: Senders): void {
  const callers = new WeakMap<object, Context>();
  const queue = Pipeline.prototype.sendCommand;
  Pipeline.prototype.sendCommand = function (command, ...rest) {
    if (!callers.has(command)) callers.set(command, context.active());
    return queue.call(this, command, ...rest);
  };
  const send = Redis.prototype.sendCommand;
  Redis.prototype.sendCommand = function (command, ...rest) {
    const caller = callers.get(command);
    return caller === undefined ? send.call(this, command, ...rest) : context.with(caller, send, this, command, ...rest);
  };
}

/** Patches ioredis when it is imported. After the instrumentation, so that its span starts inside the restored context. */
export function followPipelinedCommands(): void {
  new Hook(['ioredis'], (exported) => {
    keepCallersContext(exported as unknown as Senders);
  });
}
