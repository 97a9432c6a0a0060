import { isIP, type LookupFunction } from 'node:net';
import { RequestFilteringHttpsAgent } from 'request-filtering-agent';
import { describe, expect, it } from 'vitest';
import { ATTACHMENT_LIMITS, attachmentFetcher, attachmentFilter } from '../../src/providers/fetch-attachments.ts';
import { closedPort, makeCertificate, type Seen, startHttp, startTcp } from '../support/provider-servers.ts';

const certificate = makeCertificate();
const ca = certificate?.cert ?? '';
const test = it.skipIf(certificate === undefined);

const attachment = (url: string) => ({ url, contentType: '', filename: '', sizeBytes: 0, contentId: '' });

const limits = { maxAttachments: 10, maxTotalBytes: 1_000, maxHeldBytes: 2_500 };

interface FetchOptions {
  /** Only public addresses, as in production. */
  readonly strict?: boolean;
  readonly lookup?: LookupFunction;
  readonly timeoutMs?: number;
}

async function fetchAll(urls: readonly string[], { strict = false, lookup, timeoutMs = 5_000 }: FetchOptions = {}) {
  const trust = { ca, ...attachmentFilter(strict ? [] : ['127.0.0.1']) };
  using fetcher = attachmentFetcher(new RequestFilteringHttpsAgent(lookup === undefined ? trust : { ...trust, lookup }), limits);
  using fetched = await fetcher.fetch(urls.map(attachment), timeoutMs);
  return fetched.kind === 'fetched' ? fetched.files.map(({ bytes }) => String(bytes)) : fetched.outcome;
}

const files = (answer: Parameters<typeof startHttp>[0]) => startHttp(answer, certificate);

const rejected = (providerCode: string) => ({ kind: 'rejected', failure: { reason: 'rejected', providerCode, retryable: false } });
const FAILED = { kind: 'transient', failure: { providerCode: 'ATTACHMENT_FETCH_FAILED', retryable: true } };

describe('attachments', () => {
  test('are fetched whole, in their order', async () => {
    await using server = await files(({ url }, response) => void response.end(`at ${url.pathname}`));
    expect(await fetchAll(['/b', '/a', '/c'].map((path) => `${server.url}${path}`))).toEqual(['at /b', 'at /a', 'at /c']);
  });

  test('are asked for without compression, and without anything that we know', async () => {
    await using server = await files((_seen, response) => void response.end());
    await fetchAll([server.url]);
    const [{ headers }] = server.seen as readonly [Seen];
    expect(Object.keys(headers).toSorted()).toEqual(['accept', 'accept-encoding', 'connection', 'host']);
    expect(headers['accept-encoding']).toBe('identity');
  });

  it('fit into a request to SendGrid, which may have 30 MB', () => {
    expect((ATTACHMENT_LIMITS.maxTotalBytes * 4) / 3).toBeLessThan(30_000_000);
  });

  it('can be none', async () => {
    expect(await fetchAll([])).toEqual([]);
  });
});

describe('an attachment is refused for good when', () => {
  test.each([400, 401, 403, 404, 410, 204, 206, 304])('the answer is %d', async (status) => {
    await using server = await files((_seen, response) => void response.writeHead(status).end());
    expect(await fetchAll([server.url])).toMatchObject(rejected('ATTACHMENT_UNAVAILABLE'));
  });

  test('it is elsewhere, be that a private address or not', async () => {
    await using other = await files((_seen, response) => void response.end('secret'));
    await using server = await files((_seen, response) => void response.writeHead(302, { Location: other.url }).end());
    expect(await fetchAll([server.url])).toMatchObject(rejected('ATTACHMENT_UNAVAILABLE'));
    expect(other.seen).toEqual([]);
  });

  test('it comes compressed, which a mail program could not read', async () => {
    await using server = await files((_seen, response) => void response.writeHead(200, { 'Content-Encoding': 'gzip' }).end('x'));
    expect(await fetchAll([server.url])).toMatchObject(rejected('ATTACHMENT_UNAVAILABLE'));
  });

  it.each(['http://example.com/a', 'file:///etc/passwd', 'data:text/plain,x', 'ftp://example.com/a', 'nothing'])(
    'its URL is %s',
    async (url) => {
      expect(await fetchAll([url])).toMatchObject(rejected('ATTACHMENT_UNAVAILABLE'));
    },
  );

  test('it says that it is too large', async () => {
    await using server = await files((_seen, response) => void response.writeHead(200, { 'Content-Length': '1001' }).write('x'));
    expect(await fetchAll([server.url])).toMatchObject(rejected('ATTACHMENT_TOO_LARGE'));
  });

  test('it is too large together with the others, without saying so', async () => {
    await using server = await files((_seen, response) => void response.writeHead(200).end('x'.repeat(501)));
    expect(await fetchAll([server.url])).toHaveLength(1);
    expect(await fetchAll([server.url, server.url])).toMatchObject(rejected('ATTACHMENT_TOO_LARGE'));
  });

  it('there are too many', async () => {
    const urls = Array.from({ length: limits.maxAttachments + 1 }, () => 'https://example.com');
    expect(await fetchAll(urls)).toMatchObject(rejected('ATTACHMENT_TOO_LARGE'));
  });
});

describe('an attachment may be tried again when', () => {
  test.each([408, 429, 500, 503])('the answer is %d', async (status) => {
    await using server = await files((_seen, response) => void response.writeHead(status).end());
    expect(await fetchAll([server.url])).toMatchObject(FAILED);
  });

  it('nobody listens', async () => {
    expect(await fetchAll([`https://127.0.0.1:${await closedPort()}`])).toMatchObject(FAILED);
  });

  it('its name cannot be resolved', async () => {
    expect(await fetchAll(['https://files.invalid/a'])).toMatchObject(FAILED);
  });

  it('its server speaks no TLS', async () => {
    await using server = await startTcp((socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n'));
    expect(await fetchAll([`https://127.0.0.1:${server.port}`])).toMatchObject(FAILED);
  });

  test('it breaks off', async () => {
    await using server = await files((_seen, response) => {
      response.writeHead(200, { 'Content-Length': '100' }).write('half', () => response.destroy());
    });
    expect(await fetchAll([server.url])).toMatchObject(FAILED);
  });

  test('it does not come in time, and then its request is given up', async () => {
    const gone = Promise.withResolvers<void>();
    await using server = await files((_seen, response) => {
      response.on('close', gone.resolve);
      response.writeHead(200).write('half');
    });
    expect(await fetchAll([server.url], { timeoutMs: 200 })).toMatchObject(FAILED);
    await gone.promise;
  });

  test('another one cannot be had, and then the requests for all are given up', async () => {
    const gone = { '/bad': Promise.withResolvers<void>(), '/slow': Promise.withResolvers<void>() };
    await using server = await files(({ url }, response) => {
      response.on('close', gone[url.pathname as keyof typeof gone].resolve);
      if (url.pathname === '/bad') response.writeHead(503).write('half');
    });
    using fetcher = attachmentFetcher(new RequestFilteringHttpsAgent({ ca, ...attachmentFilter(['127.0.0.1']) }), limits);
    const urls = ['/bad', '/slow'].map((path) => attachment(`${server.url}${path}`));
    expect(await fetcher.fetch(urls, 60_000)).toMatchObject({ kind: 'refused', outcome: FAILED });
    await Promise.all([gone['/bad'].promise, gone['/slow'].promise]);
  });

  test('there are more bytes on their way than all messages together may hold, until some are sent', async () => {
    await using server = await files((_seen, response) => void response.end('x'.repeat(1_000)));
    using fetcher = attachmentFetcher(new RequestFilteringHttpsAgent({ ca, ...attachmentFilter(['127.0.0.1']) }), limits);
    const fetchOne = () => fetcher.fetch([attachment(server.url)], 5_000);
    using first = await fetchOne();
    using second = await fetchOne();
    using third = await fetchOne();
    expect([first.kind, second.kind]).toEqual(['fetched', 'fetched']);
    expect(third).toMatchObject({ kind: 'refused', outcome: FAILED });
    second[Symbol.dispose]();
    using fourth = await fetchOne();
    expect(fourth.kind).toBe('fetched');
  });
});

describe('nothing is connected to at', () => {
  it.each([
    ...['127.0.0.1', '127.1.2.3', '2130706433', '0x7f000001', '0.0.0.0', '10.0.0.1', '172.16.0.1', '192.168.0.1', '100.64.0.1'],
    ...['169.254.169.254', '224.0.0.1', '255.255.255.255', '[::1]', '[::]', '[::ffff:127.0.0.1]', '[::ffff:a9fe:a9fe]'],
    ...['[fe80::1]', '[fd00:ec2::254]', '[64:ff9b::7f00:1]', '[2002:7f00:1::]', 'localhost'],
  ])('%s', async (host) => {
    expect(await fetchAll([`https://${host}/latest/meta-data`], { strict: true })).toMatchObject(rejected('ATTACHMENT_FORBIDDEN'));
  });

  /** Every name has this address. */
  const lookupOf =
    (address: string, asked: string[] = []): LookupFunction =>
    (name, options, callback) => {
      asked.push(name);
      const found = { address, family: isIP(address) };
      if (options.all === true) callback(null, [found]);
      else callback(null, found.address, found.family);
    };

  // Azure's, which is in a public range.
  it.each(['168.63.129.16', '::ffff:168.63.129.16'])("a name that resolves to %s, where a cloud's metadata are", async (address) => {
    const outcome = await fetchAll(['https://files.example.com/'], { strict: true, lookup: lookupOf(address), timeoutMs: 500 });
    expect(outcome).toMatchObject(rejected('ATTACHMENT_FORBIDDEN'));
  });

  test('a name that resolves to a private address, though it did not when somebody checked', async () => {
    await using server = await files((_seen, response) => void response.end('secret'));
    const asked: string[] = [];
    const lookup = lookupOf('127.0.0.1', asked);
    const url = `https://files.example.com:${server.port}/`;
    expect(await fetchAll([url], { strict: true, lookup })).toMatchObject(rejected('ATTACHMENT_FORBIDDEN'));
    expect([asked, server.connections]).toEqual([['files.example.com'], []]);
  });
});

it('says nothing of a URL, which may have a token in it', async () => {
  const outcome = await fetchAll(['https://127.0.0.1/?token=canary', 'http://example.com/?token=canary'], { strict: true });
  expect(JSON.stringify(outcome)).toMatch(/attachment [12]: /);
  expect(JSON.stringify(outcome)).not.toMatch(/canary|127\.0/);
});
