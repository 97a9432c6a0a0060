import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isPublicUrl } from '../../src/domain/attachment-url.ts';

const dotted = (address: number): string => [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.');

/** The spellings that `URL`, and what fetches, take for one IPv4 address. */
function spellings(address: number): readonly string[] {
  const parts = dotted(address).split('.').map(Number);
  const [a = 0, b = 0] = parts;
  const hex = (value: number) => `0x${value.toString(16)}`;
  const groups = `${(address >>> 16).toString(16)}:${(address & 0xffff).toString(16)}`;
  return [
    dotted(address),
    `${dotted(address)}.`,
    String(address >>> 0),
    hex(address >>> 0),
    `0${(address >>> 0).toString(8)}`,
    parts.map(hex).join('.'),
    parts.map((part) => `0${part.toString(8)}`).join('.'),
    `${a}.${hex(address & 0xffffff)}`,
    `${a}.${b}.${address & 0xffff}`,
    dotted(address).replaceAll('1', '\uff11').replaceAll('.', '\u3002'),
    `[::ffff:${dotted(address)}]`,
    `[::ffff:${groups}]`,
    `[0:0:0:0:0:FFFF:${groups}]`,
    `[64:ff9b::${dotted(address)}]`,
    `[2002:${groups}::1]`,
  ];
}

const at = (host: string): boolean => isPublicUrl(`https://${host}/a.png?b=c`);

/** First and last address of what is not public. */
const privateRanges = [
  ['0.0.0.0', '0.255.255.255'],
  ['10.0.0.0', '10.255.255.255'],
  ['100.64.0.0', '100.127.255.255'],
  ['127.0.0.0', '127.255.255.255'],
  ['169.254.0.0', '169.254.255.255'],
  ['172.16.0.0', '172.31.255.255'],
  ['192.0.0.0', '192.0.0.255'],
  ['192.168.0.0', '192.168.255.255'],
  ['198.18.0.0', '198.19.255.255'],
  ['224.0.0.0', '255.255.255.255'],
] as const;
const numberOf = (text: string): number => text.split('.').reduce((value, part) => value * 256 + Number(part), 0);

describe('an attachment', () => {
  it.each([
    'example.com',
    'example.com.',
    'EXAMPLE.com:8443',
    'user@example.com',
    'cdn.localhost.example.com',
    'internal.example.com',
    'mylocal',
    'notlocalhost.com',
    '8.8.8.8',
    '172.15.255.255',
    '172.32.0.0',
    '100.63.255.255',
    '169.253.255.255',
    '192.167.255.255',
    '223.255.255.255',
    'bücher.example',
    '[2606:4700:4700::1111]',
    '[2001:4860:4860::8888]',
    '[::ffff:8.8.8.8]',
    '[64:ff9b::8.8.8.8]',
    '[2002:808:808::1]',
    '[3fff:1000::1]',
  ])('at %s may be fetched', (host) => {
    expect(at(host)).toBe(true);
  });

  it.each(privateRanges)('at an address from %s to %s may not, however it is spelled', (first, last) => {
    const [low, high] = [numberOf(first), numberOf(last)];
    fc.assert(
      fc.property(fc.oneof(fc.constantFrom(low, high), fc.integer({ min: low, max: high })), (address) => {
        expect(spellings(address).filter(at)).toEqual([]);
      }),
    );
  });

  it('at any public address may be fetched, however it is spelled', () => {
    fc.assert(
      fc.property(fc.integer({ min: numberOf('11.0.0.0'), max: numberOf('100.63.255.255') }), (address) => {
        expect(spellings(address).filter((host) => !at(host))).toEqual([]);
      }),
    );
  });

  it.each([
    'localhost',
    'LOCALHOST',
    'localhost.',
    'a.localhost',
    'printer.local',
    'printer.local.',
    'metadata.google.internal',
    'router.home.arpa',
    'local\u00adhost',
    'ｌｏｃａｌｈｏｓｔ',
    '%6cocalhost',
    'example.com@localhost',
    '127.1',
    '2130706433',
    '0x7f.1',
    '0177.0.0.1',
    '168.63.129.16',
    '100.100.100.200',
    '192.0.0.192',
    '[::]',
    '[::1]',
    '[::127.0.0.1]',
    '[::ffff:0:7f00:1]',
    '[fe80::1]',
    '[fec0::1]',
    '[fc00::1]',
    '[fd00:ec2::254]',
    '[ff02::1]',
    '[100::1]',
    '[2001::1]',
    '[2001:db8::1]',
    '[3fff::1]',
    '[64:ff9b:1::10.0.0.1]',
    '[5f00::1]',
  ])('at %s may not', (host) => {
    expect(at(host)).toBe(false);
  });

  it.each([
    'http://example.com/a',
    'ftp://example.com/a',
    'https://',
    'https://exa mple.com',
    'https://[::1',
    'https://1.2.3.4.5',
    'example.com',
    '',
  ])('at %j may not', (url) => {
    expect(isPublicUrl(url)).toBe(false);
  });
});
