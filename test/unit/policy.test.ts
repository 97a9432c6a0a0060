/** Who may call what: the table that README and ARCHITECTURE.md speak of, seen from outside. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Health } from '../../gen/grpc/health/v1/health_pb.js';
import { ServerReflection as ReflectionV1 } from '../../gen/grpc/reflection/v1/reflection_pb.js';
import { ServerReflection as ReflectionV1Alpha } from '../../gen/grpc/reflection/v1alpha/reflection_pb.js';
import { CacheService } from '../../gen/messaging/v1/cache_service_pb.js';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { SuppressionService } from '../../gen/messaging/v1/suppression_service_pb.js';
import { fullName } from '../../src/rpc/endpoint.ts';
import { accessOf, governedMethods } from '../../src/rpc/policy.ts';

const ours = [MessageService, ConversationService, ProviderEventService, SuppressionService, CacheService];
const served = [...ours, Health, ReflectionV1, ReflectionV1Alpha].flatMap(({ methods }) => methods.map(fullName));

/** README's table, a pair of method and access each. */
function documented(): readonly string[] {
  const section = readFileSync('README.md', 'utf8').split('## Identity\n')[1]?.split('\n## ')[0] ?? '';
  return [...section.matchAll(/^\| ([a-z, ]+) \| (\S+: .*) \|$/gm)].flatMap(([, who = '', services = '']) =>
    services.split('; ').flatMap((service) => {
      const [name = '', methods = ''] = service.split(': ');
      return methods.split(', ').map((method) => `${name.includes('.') ? '' : 'messaging.v1.'}${name}/${method} ${who}`);
    }),
  );
}

describe('the policy', () => {
  it('is what README says', () => {
    const actual = served.map((method) => `${method} ${[accessOf(method)].flat().join(', ')}`);
    expect([...documented()].sort()).toEqual(actual.sort());
  });

  it('names every method of every service, and nothing else', () => {
    expect([...governedMethods()].sort()).toEqual([...served].sort());
  });

  it('refuses to say anything of a method that it does not name', () => {
    expect(() => accessOf('messaging.v1.MessageService/EraseEverything')).toThrow('no policy says who may call');
  });

  it('opens nothing but health to those without credentials', () => {
    expect(served.filter((method) => accessOf(method) === 'anyone')).toEqual(Health.methods.map(fullName));
  });

  it('gives every method of this service to a role', () => {
    for (const method of ours.flatMap(({ methods }) => methods.map(fullName))) expect(accessOf(method), method).toBeInstanceOf(Array);
  });

  it('keeps what tells of providers and steers the cache from callers', () => {
    const closed = [...ProviderEventService.methods, ...CacheService.methods].map(fullName);
    for (const method of closed) expect(accessOf(method), method).not.toContain('caller');
  });

  it('lets an operator read whatever a caller may', () => {
    const reads = ours.flatMap(({ methods }) => methods).filter(({ name }) => /^(Get|BatchGet|List|Search|Watch|Preview)/.test(name));
    expect(reads.length).toBeGreaterThan(15);
    for (const method of reads.map(fullName)) expect(accessOf(method), method).toContain('operator');
  });
});
