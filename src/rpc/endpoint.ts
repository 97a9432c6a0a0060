/** What a path leads to, found once at the start. */
import type { DescMethod, DescMethodServerStreaming, DescMethodUnary } from '@bufbuild/protobuf';
import type { HandlerContext } from '@connectrpc/connect';
import type { UniversalHandler } from '@connectrpc/connect/protocol';
import type { RpcCounts } from '../telemetry/metrics.ts';
import type { CheckedRequests } from './checked-requests.ts';
import type { Access } from './policy.ts';

/** A method as the lean lane calls it. */
export interface LeanMethod {
  readonly desc: DescMethodUnary | DescMethodServerStreaming;
  /** Returns the answer, or a promise of it; of a stream an iterable of answers. */
  readonly handle: (request: never, context: HandlerContext) => unknown;
  readonly encode: (answer: never) => Buffer;
  /** undefined: of a method with side effects. */
  readonly checked: CheckedRequests | undefined;
}

export interface Endpoint {
  /** Of the method, for metrics and spans: `messaging.v1.MessageService/GetMessage`. */
  readonly name: string;
  /** undefined, like `handler`: there is no such method. */
  readonly method: DescMethod | undefined;
  /** Who may call it. */
  readonly access: Access;
  readonly counts: RpcCounts;
  readonly handler: UniversalHandler | undefined;
  /** undefined: Connect takes all of its calls. */
  readonly lean: LeanMethod | undefined;
}

/** `messaging.v1.MessageService/GetMessage` */
export function fullName({ parent, name }: DescMethod): string {
  return `${parent.typeName}/${name}`;
}
