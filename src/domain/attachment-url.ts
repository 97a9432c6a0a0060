/**
 * Which URLs may be fetched for an attachment. Looks at the text alone: whoever fetches also looks at what a name resolves to. `URL`
 * has brought every spelling of an address into one form: 0x7f.1 and 2130706433 are 127.0.0.1, ::ffff:127.0.0.1 is ::ffff:7f00:1.
 */

/** First address and number of leading bits that count. Not public by the IANA special-purpose registry, but for the last. */
const PRIVATE_IPV4 = (
  [
    ['0.0.0.0', 8],
    ['10.0.0.0', 8],
    ['100.64.0.0', 10],
    ['127.0.0.0', 8],
    // Metadata of most clouds.
    ['169.254.0.0', 16],
    ['172.16.0.0', 12],
    ['192.0.0.0', 24],
    ['192.0.2.0', 24],
    ['192.88.99.0', 24],
    ['192.168.0.0', 16],
    ['198.18.0.0', 15],
    ['198.51.100.0', 24],
    ['203.0.113.0', 24],
    ['224.0.0.0', 3],
    // Metadata of Azure, at an address that looks public.
    ['168.63.129.16', 32],
  ] as const
).map(([first, bits]) => ({ first: ipv4Of(first), size: 2 ** (32 - bits) }));

/** Names that only a local network knows, and all below them. */
const PRIVATE_NAMES = ['localhost', 'local', 'internal', 'home.arpa'] as const;

/** Four decimal numbers, as `URL` writes them, to one. */
function ipv4Of(text: string): number {
  return text.split('.').reduce((value, part) => value * 256 + Number(part), 0);
}

function isPrivateIpv4(address: number): boolean {
  return PRIVATE_IPV4.some(({ first, size }) => address >= first && address < first + size);
}

const IPV6_GROUPS = 8;

/** Eight numbers of 16 bits. */
function ipv6Of(text: string): readonly number[] {
  const groupsOf = (part: string): readonly number[] => (part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16)));
  const [head = '', tail] = text.split('::');
  const [before, after] = [groupsOf(head), groupsOf(tail ?? '')];
  return [...before, ...new Array<number>(IPV6_GROUPS - before.length - after.length).fill(0), ...after];
}

function isPrivateIpv6(text: string): boolean {
  const groups = ipv6Of(text);
  const [first = 0, second = 0] = groups;
  /** The IPv4 address that stands in these two groups. */
  const isPrivateAt = (index: number): boolean => isPrivateIpv4((groups[index] ?? 0) * 65_536 + (groups[index + 1] ?? 0));
  const startsWithZeros = (count: number): boolean => groups.slice(0, count).every((group) => group === 0);
  // IPv4-mapped; translated by NAT64; 6to4.
  if (startsWithZeros(5) && groups[5] === 0xffff) return isPrivateAt(6);
  if (first === 0x64 && second === 0xff9b && groups.slice(2, 6).every((group) => group === 0)) return isPrivateAt(6);
  if (first === 0x2002) return isPrivateAt(1);
  // Beside those only 2000::/3 is public, without what is in it for protocols (2001::/23, with Teredo) and documentation.
  const isGlobal = first >= 0x2000 && first <= 0x3fff;
  const isProtocol = first === 0x2001 && second < 0x200;
  const isDocumentation = (first === 0x2001 && second === 0xdb8) || (first === 0x3fff && second < 0x1000);
  return !isGlobal || isProtocol || isDocumentation;
}

const IPV4 = /^\d{1,3}(?:\.\d{1,3}){3}$/;

/** True of an https URL whose host may be public, as far as its text tells. */
export function isPublicUrl(text: string): boolean {
  const url = URL.parse(text);
  if (url?.protocol !== 'https:') return false;
  const host = url.hostname.replace(/\.$/, '');
  if (host.startsWith('[')) return !isPrivateIpv6(host.slice(1, -1));
  if (IPV4.test(host)) return !isPrivateIpv4(ipv4Of(host));
  return !PRIVATE_NAMES.some((name) => host === name || host.endsWith(`.${name}`));
}
