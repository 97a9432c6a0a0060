import type { DescMethod, DescService } from '@bufbuild/protobuf';
import { Code, type ContextValues, createContextValues, type HandlerContext } from '@connectrpc/connect';
import { type Call, callKey, type OwnContext } from './call.ts';
import { errorWith } from './errors.ts';

/** What handlers of the lean lane learn of their call. Each part is made when it is asked for: most handlers ask for one. */
export class LeanContext implements HandlerContext, OwnContext {
  readonly method: DescMethod;
  readonly call: Call;
  #values: ContextValues | undefined;
  #aborted: AbortController | undefined;
  #requestHeader: Headers | undefined;
  /** What the handler wants sent before its answer; undefined while it has not asked for it. */
  askedHeader: Headers | undefined;
  /** The same, after the answer. */
  askedTrailer: Headers | undefined;

  constructor(call: Call, method: DescMethod) {
    this.call = call;
    this.method = method;
  }

  get service(): DescService {
    return this.method.parent;
  }

  get requestMethod(): string {
    return 'POST';
  }

  get protocolName(): string {
    return 'grpc';
  }

  get url(): string {
    const { stream, headers } = this.call;
    const scheme = stream.session?.encrypted === true ? 'https' : 'http';
    return new URL(headers[':path'] ?? '', `${scheme}://${headers[':authority']}`).toString();
  }

  get values(): ContextValues {
    this.#values ??= createContextValues().set(callKey, this.call);
    return this.#values;
  }

  /** Aborted when the call ends before its handler does. */
  get signal(): AbortSignal {
    if (this.#aborted === undefined) {
      const controller = new AbortController();
      const abort = (): void => {
        const isLate = this.call.told === Code.DeadlineExceeded;
        controller.abort(isLate ? errorWith('deadline_exceeded', 'the deadline has passed') : errorWith('canceled', 'the call is over'));
      };
      if (this.call.stream.destroyed) abort();
      else this.call.stream.once('close', abort);
      this.#aborted = controller;
    }
    return this.#aborted.signal;
  }

  /** undefined while no handler has asked for it. */
  get usedSignal(): AbortSignal | undefined {
    return this.#aborted?.signal;
  }

  /** A function of its own: handlers take their context apart. */
  get timeoutMs(): () => number | undefined {
    const { openedMs, timeoutMs } = this.call;
    return () => (timeoutMs === undefined ? undefined : openedMs + timeoutMs - performance.now());
  }

  get requestHeader(): Headers {
    if (this.#requestHeader === undefined) {
      const headers = new Headers();
      for (const [name, value] of Object.entries(this.call.headers)) {
        if (name.startsWith(':')) continue;
        for (const one of Array.isArray(value) ? value : [value ?? '']) headers.append(name, one);
      }
      this.#requestHeader = headers;
    }
    return this.#requestHeader;
  }

  get responseHeader(): Headers {
    this.askedHeader ??= new Headers();
    return this.askedHeader;
  }

  get responseTrailer(): Headers {
    this.askedTrailer ??= new Headers();
    return this.askedTrailer;
  }
}
