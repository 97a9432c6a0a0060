import type { DescMethod } from '@bufbuild/protobuf';
import { MethodOptions_IdempotencyLevel as IdempotencyLevel } from '@bufbuild/protobuf/wkt';
import { type ConnectRouter, createConnectRouter } from '@connectrpc/connect';
import type { Metrics } from '../telemetry/metrics.ts';
import type { AccessControl } from './access-control.ts';
import { createCheckedRequests } from './checked-requests.ts';
import { ACCEPT_COMPRESSION, COMPRESS_MIN_BYTES } from './compression.ts';
import { frameEncoder } from './encode-answer.ts';
import { type Endpoint, fullName, type LeanMethod } from './endpoint.ts';
import { interceptorsOf } from './interceptors.ts';
import type { CallSteps } from './steps.ts';

export type Routes = readonly ((router: ConnectRouter) => void)[];

export interface EndpointOptions {
  readonly maxRequestBytes: number;
  readonly maxResponseBytes: number;
  readonly leanLane: boolean;
}

export interface EndpointParts {
  readonly routes: Routes;
  readonly metrics: Metrics;
  readonly steps: CallSteps;
  readonly access: Pick<AccessControl, 'accessOf'>;
}

/** JSON that names what this server does not know is refused, as protobuf's JSON mapping asks: a misspelt field must not be ignored. */
const JSON_OPTIONS = { ignoreUnknownFields: false, textDecoder: new TextDecoder('utf-8', { fatal: true }) };

/** The methods with one request that `routes` implement, by path. Those with options of their own, which only Connect knows to heed, are left out. */
function leanMethods(routes: Routes): ReadonlyMap<string, LeanMethod> {
  const methods = new Map<string, LeanMethod>();
  const add = (desc: DescMethod, implementation: unknown, options: unknown): void => {
    const hasOneRequest = desc.methodKind === 'unary' || desc.methodKind === 'server_streaming';
    if (!hasOneRequest || typeof implementation !== 'function' || options !== undefined) return;
    const known = desc as LeanMethod['desc'];
    const isRead = desc.idempotency === IdempotencyLevel.NO_SIDE_EFFECTS;
    methods.set(`/${fullName(desc)}`, {
      desc: known,
      handle: implementation as LeanMethod['handle'],
      encode: frameEncoder(known.output),
      checked: isRead ? createCheckedRequests() : undefined,
    });
  };
  const router: ConnectRouter = {
    handlers: [],
    service(service, implementations, options) {
      const named = implementations as Readonly<Record<string, unknown>>;
      for (const method of service.methods) {
        const own = named[method.localName];
        add(method, typeof own === 'function' ? own.bind(implementations) : undefined, options);
      }
      return router;
    },
    rpc(method, implementation, options) {
      add(method, implementation, options);
      return router;
    },
  };
  for (const route of routes) route(router);
  return methods;
}

/** A method that does not exist must not become a label of its own. */
const OTHER = '_OTHER';

const STREAM_TYPE = {
  unary: 'unary',
  server_streaming: 'server_stream',
  client_streaming: 'client_stream',
  bidi_streaming: 'bidi_stream',
} as const satisfies Record<DescMethod['methodKind'], string>;

/** Unknown paths lead to one endpoint without a handler. Throws for a method that no policy names. */
export function endpointTable(options: EndpointOptions, { routes, metrics, steps, access }: EndpointParts): (path: string) => Endpoint {
  const router = createConnectRouter({
    interceptors: interceptorsOf(steps),
    readMaxBytes: options.maxRequestBytes,
    writeMaxBytes: options.maxResponseBytes,
    acceptCompression: [...ACCEPT_COMPRESSION],
    compressMinBytes: COMPRESS_MIN_BYTES,
    jsonOptions: JSON_OPTIONS,
  });
  for (const route of routes) route(router);
  const lean = options.leanLane ? leanMethods(routes) : undefined;
  const endpoints = new Map<string, Endpoint>();
  for (const handler of router.handlers) {
    const { method, requestPath } = handler;
    const counts = metrics.rpc({ service: method.parent.typeName, method: method.name, type: STREAM_TYPE[method.methodKind] });
    const name = fullName(method);
    endpoints.set(requestPath, { name, method, access: access.accessOf(name), counts, handler, lean: lean?.get(requestPath) });
  }
  const unknown: Endpoint = {
    name: OTHER,
    method: undefined,
    access: [],
    counts: metrics.rpc({ service: OTHER, method: OTHER, type: 'unary' }),
    handler: undefined,
    lean: undefined,
  };
  return (path) => endpoints.get(path) ?? endpoints.get(path.split('?', 1)[0] ?? '') ?? unknown;
}
