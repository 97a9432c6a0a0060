/** A service over TLS that knows certificates of one authority and tokens of one issuer, and callers with and without them. */
import { type CallOptions, type Client, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { Health } from '../../gen/grpc/health/v1/health_pb.js';
import { ServerReflection } from '../../gen/grpc/reflection/v1/reflection_pb.js';
import { CacheService } from '../../gen/messaging/v1/cache_service_pb.js';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import type { KeyPair } from '../../src/dev/certificates.ts';
import { startTestApp, type TestApp } from './apps.ts';
import { createTestAuthority, type TestAuthority } from './certificate-files.ts';
import { createDatabase } from './database.ts';
import { failure } from './protocols.ts';
import { createIssuer, type Issuer, startKeyServer } from './token-issuer.ts';

export interface Peer {
  readonly messages: Client<typeof MessageService>;
  readonly events: Client<typeof ProviderEventService>;
  readonly cache: Client<typeof CacheService>;
  readonly health: Client<typeof Health>;
  readonly reflection: Client<typeof ServerReflection>;
}

export interface IdentityWorld extends AsyncDisposable {
  readonly app: TestApp;
  readonly url: string;
  readonly authority: TestAuthority;
  readonly issuer: Issuer;
  /** With a connection of its own. */
  peer(pair?: KeyPair): Peer;
}

const DEADLINE_MS = 30_000;
const ROLES = 'billing=caller,spiffe://corp/ops=operator,edge=gateway';

export async function startIdentityWorld(env: Readonly<Record<string, string>> = {}): Promise<IdentityWorld> {
  await using opening = new AsyncDisposableStack();
  const database = opening.use(await createDatabase());
  const authority = opening.use(await createTestAuthority());
  const issuer = await createIssuer();
  const keyServer = opening.use(await startKeyServer(() => issuer.keys()));
  const app = opening.use(
    await startTestApp({
      DATABASE_URL: database.url,
      ...authority.env,
      AUTH_MODE: 'on',
      AUTH_CERT_ROLES: ROLES,
      AUTH_JWKS_URL: keyServer.url,
      AUTH_JWT_ISSUERS: issuer.name,
      AUTH_JWT_AUDIENCES: `other,${issuer.audience}`,
      AUTH_CLOCK_TOLERANCE_SECONDS: '0',
      ...env,
    }),
  );
  const url = `https://localhost:${app.grpcPort}`;
  const opened = opening.move();
  return {
    app,
    url,
    authority,
    issuer,
    peer(pair) {
      const transport = createGrpcTransport({ baseUrl: url, nodeOptions: { ca: authority.ca, ...pair }, defaultTimeoutMs: DEADLINE_MS });
      return {
        messages: createClient(MessageService, transport),
        events: createClient(ProviderEventService, transport),
        cache: createClient(CacheService, transport),
        health: createClient(Health, transport),
        reflection: createClient(ServerReflection, transport),
      };
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

export const bearer = (token: string): CallOptions => ({ headers: { authorization: `Bearer ${token}` } });

/** Code, reason, and what the metadata say is wrong or would be needed. */
export async function problemOf(call: Promise<unknown>): Promise<readonly (string | undefined)[]> {
  const { code, reason, metadata } = await failure(call);
  return [code, reason, metadata['problem'] ?? metadata['permission']];
}

export const refusedAs = (problem: string): readonly string[] => ['Unauthenticated', 'CREDENTIALS_INVALID', problem];
