/** Whom a certificate names, of what Node tells of it; the connection itself is tested end to end. */
import { describe, expect, it } from 'vitest';
import { nameOfCertificate } from '../../src/rpc/certificate-identity.ts';

const subject = (CN: unknown) => ({ CN }) as unknown as Parameters<typeof nameOfCertificate>[0]['subject'];

describe('a certificate names', () => {
  it.each([
    ['its first URI', 'DNS:a.test, URI:spiffe://corp/billing, URI:spiffe://corp/other', 'cn', 'spiffe://corp/billing'],
    ['else its first DNS name', 'IP Address:10.0.0.1, DNS:billing.test, DNS:b.test', 'cn', 'billing.test'],
    ['else its CN', 'IP Address:10.0.0.1, email:a@b.test', 'billing service', 'billing service'],
    ['its CN when it has nothing else', undefined, 'billing', 'billing'],
  ])('%s', (_, subjectaltname, cn, expected) => {
    expect(nameOfCertificate({ subject: subject(cn), ...(subjectaltname === undefined ? {} : { subjectaltname }) })).toBe(expected);
  });

  it.each([
    ['has no name', undefined, undefined],
    ['has several CNs', undefined, ['a', 'b']],
    ['has a name that cannot be logged', undefined, 'billing\u0000ops'],
    ['has a name without end', undefined, 'x'.repeat(201)],
    // Node quotes what would read as several names.
    ['hides a name in another', 'DNS:"evil.test, DNS:billing.test"', 'cn'],
    ['hides a name in another beside an honest one', 'DNS:a.test, URI:"x, URI:spiffe://corp/billing"', 'cn'],
  ])('nobody when it %s', (_, subjectaltname, cn) => {
    expect(nameOfCertificate({ subject: subject(cn), ...(subjectaltname === undefined ? {} : { subjectaltname }) })).toBeUndefined();
  });
});
