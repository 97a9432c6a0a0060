import { createHash } from 'node:crypto';
import { describe, expect, it, vi } from 'vitest';
import { readStatusPage } from '../../src/http/status-page.ts';
import { shared } from '../../src/http/status-snapshot.ts';

describe('the document of the status page', () => {
  const { text, headers = {} } = readStatusPage();
  const policy = headers['content-security-policy'] ?? '';
  const inside = (tag: string): readonly string[] =>
    [...text.matchAll(new RegExp(`<${tag}[^>]*>([\\s\\S]*?)</${tag}>`, 'g'))].map(([, source = '']) => source);

  it('is one document: its policy allows the style and the script in it by their digests, and nothing else', () => {
    const digestOf = (source = '') => `'sha256-${createHash('sha256').update(source).digest('base64')}'`;
    const [[style, ...styles], [script, ...scripts]] = [inside('style'), inside('script')];
    expect([styles, scripts]).toEqual([[], []]);
    expect(policy.split('; ')).toEqual(
      expect.arrayContaining([
        "default-src 'none'",
        `script-src ${digestOf(script)}`,
        `style-src ${digestOf(style)}`,
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
      ]),
    );
    expect(policy).not.toContain('unsafe');
    expect(text).not.toMatch(/ style=| on[a-z]+=|<!-- (?:style|script) -->/);
  });

  it('has one script, of which nothing is left to import', () => {
    const [script = ''] = inside('script');
    expect(script).not.toMatch(/^(?:import|export)\b/m);
    expect(script).not.toMatch(/innerHTML|insertAdjacentHTML|document\.write|eval\(/);
  });
});

describe('a part that is shared', () => {
  it('is asked for once, however many ask, and again when it is old', async () => {
    let nowMs = 0;
    const load = vi.fn(async () => nowMs);
    const part = shared(load, 1_000, () => nowMs);
    expect(await Promise.all([part(), part()])).toEqual([0, 0]);
    nowMs = 999;
    expect(await part()).toBe(0);
    nowMs = 1_000;
    expect(await part()).toBe(1_000);
    expect(load).toHaveBeenCalledTimes(2);
  });

  it('is asked for again when it was changed, also while an older answer is on its way', async () => {
    const answers = [Promise.withResolvers<string>(), Promise.withResolvers<string>()];
    let asked = 0;
    const part = shared(
      () => answers[asked++]?.promise ?? Promise.reject(new Error('asked too often')),
      1_000,
      () => 0,
    );
    const before = part();
    part.forget();
    const after = part();
    answers[1]?.resolve('new');
    answers[0]?.resolve('old');
    expect([await before, await after, await part()]).toEqual(['old', 'new', 'new']);
  });

  it('is unknown when it fails or takes too long, and is not asked for twice at a time', async () => {
    const late = Promise.withResolvers<string>();
    const load = vi.fn(() => late.promise);
    const part = shared(load, 1_000, () => 0, 1);
    expect([await part(), await part()]).toEqual([null, null]);
    expect(load).toHaveBeenCalledTimes(1);
    late.resolve('at last');
    await late.promise;
    expect(await part()).toBe('at last');
    expect(
      await shared(
        () => Promise.reject(new Error('no')),
        1_000,
        () => 0,
      )(),
    ).toBeNull();
  });
});
