import { describe, expect, it } from 'vitest';
import type { Answer } from '../../src/http/http-server.ts';
import { createAccess, peerOf } from '../../src/http/status-access.ts';

const TOKEN = 'correct horse battery staple';
const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;

function door() {
  let nowMs = 0;
  const access = createAccess({ token: TOKEN, nowMs: () => nowMs });
  /** The status of the refusal; undefined: let in. */
  const ask = (authorization: string | undefined, peer = '192.0.2.1', headers: Readonly<Record<string, string>> = {}) => {
    const request = { headers: { ...headers, ...(authorization === undefined ? {} : { authorization }) }, socket: { remoteAddress: peer } };
    return access(request as unknown as Parameters<typeof access>[0]);
  };
  return {
    ask,
    statusOf: (...question: Parameters<typeof ask>): number | undefined => ask(...question)?.status,
    pass: (ms: number) => {
      nowMs += ms;
    },
  };
}

const challenge = (answer: Answer | undefined) => answer?.headers?.['www-authenticate'];

describe('access to the status page', () => {
  it('is for the operator with the token', () => {
    expect(door().statusOf(basic(`operator:${TOKEN}`))).toBeUndefined();
  });

  it.each([
    ['nothing', undefined],
    ['another token', basic('operator:wrong')],
    ['a part of the token', basic(`operator:${TOKEN.slice(0, -1)}`)],
    ['more than the token', basic(`operator:${TOKEN} `)],
    ['another user', basic(`admin:${TOKEN}`)],
    ['another scheme', `Bearer ${TOKEN}`],
    ['no base64', 'Basic ???'],
    ['nothing behind the scheme', 'Basic '],
  ])('is refused to whoever brings %s', (_, authorization) => {
    const answer = door().ask(authorization);
    expect(answer?.status).toBe(401);
    expect(challenge(answer)).toMatch(/^Basic /);
    expect(answer?.text).not.toContain(TOKEN);
  });

  it('is not asked for by a dialog while the page polls', () => {
    const answer = door().ask(undefined, '192.0.2.1', { 'x-status-page': '1' });
    expect([answer?.status, challenge(answer)]).toEqual([401, undefined]);
  });

  it('is refused for the rest of a minute after ten failed tries, with the right token too', () => {
    const { statusOf, ask, pass } = door();
    const right = basic(`operator:${TOKEN}`);
    for (let tries = 0; tries < 10; tries += 1) expect(statusOf(basic(`operator:${tries}`))).toBe(401);
    pass(20_000);
    expect(statusOf(right)).toBe(429);
    expect(ask(right)?.headers).toMatchObject({ 'retry-after': '40' });
    // A browser that has not asked anybody yet, and somebody else.
    expect(statusOf(undefined)).toBe(401);
    expect(statusOf(right, '192.0.2.2')).toBeUndefined();
    pass(40_000);
    expect(statusOf(right)).toBeUndefined();
    for (let tries = 0; tries < 10; tries += 1) expect(statusOf(basic(`operator:${tries}`))).toBe(401);
    expect(statusOf(right)).toBe(429);
  });

  it('counts at most a thousand peers, and forgets those whose window began first', () => {
    const { statusOf } = door();
    const right = basic(`operator:${TOKEN}`);
    for (let tries = 0; tries < 10; tries += 1) statusOf(basic('x:y'), '192.0.2.1');
    for (let peer = 0; peer < 999; peer += 1) statusOf(basic('x:y'), `10.0.${peer >> 8}.${peer & 255}`);
    expect(statusOf(right, '192.0.2.1')).toBe(429);
    statusOf(basic('x:y'), '192.0.2.3');
    expect(statusOf(right, '192.0.2.1')).toBeUndefined();
  });

  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:db8::1', '2001:db8:0:0'],
    ['2001::4:5:6:7:8:9', '2001:0:4:5'],
    ['::1', '0:0:0:0'],
  ])('takes %s for %s', (address, peer) => expect(peerOf(address)).toBe(peer));
});
