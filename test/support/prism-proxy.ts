/**
 * Twilio's published OpenAPI document as a judge: a proxy that passes requests on and holds them, and their answers, against the
 * document.
 */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { createInstance, getHttpOperationsFromSpec } from '@stoplight/prism-http';

type Operations = Awaited<ReturnType<typeof getHttpOperationsFromSpec>>;
type Prism = ReturnType<typeof createInstance>;
type PrismRequest = Parameters<Prism['request']>[0];

export interface Violation {
  readonly side: 'request' | 'answer';
  /** A warning is what the document says nothing about, such as the HTTP status of an error. */
  readonly severity: 'error' | 'warning';
  readonly message: string;
}

export interface PrismProxy extends AsyncDisposable {
  readonly url: string;
  readonly exchanges: number;
  readonly violations: readonly Violation[];
}

const require = createRequire(import.meta.url);
const DOCUMENT = require.resolve('@twilio-alpha/mcp/package.json').replace('package.json', 'twilio-oai/spec/json/twilio_api_v2010.json');
const MESSAGES = '/2010-04-01/Accounts/{AccountSid}/Messages.json';

/** Messages alone, for the whole document takes seconds to prepare. */
async function readDocument() {
  const { paths, components, ...document } = JSON.parse(await readFile(DOCUMENT, 'utf8'));
  const pick = (all: Readonly<Record<string, unknown>>, names: RegExp) =>
    Object.fromEntries(Object.entries(all).filter(([name]) => names.test(name)));
  return {
    ...document,
    paths: pick(paths, /\/Messages(\/\{Sid\})?\.json$/),
    components: { ...components, schemas: pick(components.schemas, /^(api\.v2010\.account\.message$|message_enum)/) },
  };
}

/** Twilio's own examples of a list, which the amended document must accept. */
export async function listExamples(): Promise<readonly unknown[]> {
  const document = await readDocument();
  const { examples } = document.paths[MESSAGES].get.responses[200].content['application/json'];
  return Object.values(examples as Readonly<Record<string, { readonly value: unknown }>>).map(({ value }) => value);
}

/** The document with two amendments, without which not even Twilio's examples would pass. */
export async function loadMessageOperations(): Promise<Operations> {
  const document = await readDocument();
  const { get, post } = document.paths[MESSAGES];
  // The URIs of pages are relative in every example, and that is another format.
  const page = get.responses[200].content['application/json'].schema.properties;
  for (const property of Object.values(page) as { format?: string }[]) if (property.format === 'uri') property.format = 'uri-reference';
  // What OpenAPI says of lists in forms by default; Prism knows it only when it is written down.
  post.requestBody.content['application/x-www-form-urlencoded'].encoding = { MediaUrl: { style: 'form', explode: true } };
  return await getHttpOperationsFromSpec(document);
}

const quiet = { info() {}, warn() {}, error() {}, debug() {}, trace() {}, fatal() {}, success() {}, child: () => quiet };

export async function startPrismProxy(operations: Operations, upstream: string): Promise<PrismProxy> {
  const prism = createInstance(
    {
      isProxy: true,
      upstream: new URL(upstream),
      upstreamProxy: undefined,
      validateRequest: true,
      validateResponse: true,
      checkSecurity: true,
      errors: false,
      mock: { dynamic: false },
    },
    { logger: quiet as never },
  );
  const violations: Violation[] = [];
  let exchanges = 0;
  const server = createServer(async (incoming, response) => {
    const body = Buffer.concat(await Array.fromAsync(incoming as AsyncIterable<Buffer>)).toString();
    const url = new URL(incoming.url ?? '', upstream);
    const request = {
      method: incoming.method?.toLowerCase(),
      url: { path: url.pathname, query: Object.fromEntries(url.searchParams) },
      headers: incoming.headers,
      ...(body === '' ? {} : { body }),
    } as PrismRequest;
    const outcome = await prism.request(request, operations)();
    exchanges += 1;
    if (outcome._tag === 'Left') {
      violations.push({ side: 'request', severity: 'error', message: outcome.left.message });
      response.destroy();
      return;
    }
    const { output, validations } = outcome.right;
    for (const [side, found] of [
      ['request', validations.input],
      ['answer', validations.output],
    ] as const) {
      for (const { severity, path = [], message } of found) {
        violations.push({ side, severity: severity === 0 ? 'error' : 'warning', message: `${path.join('.')}: ${message}` });
      }
    }
    const type = output.headers?.['content-type'] ?? '';
    response.writeHead(output.statusCode, { 'content-type': type }).end(JSON.stringify(output.body));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get exchanges() {
      return exchanges;
    },
    violations,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
