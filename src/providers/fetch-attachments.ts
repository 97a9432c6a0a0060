/** Gets attachments of email, whose URLs callers have chosen: from the public internet only, over HTTPS, without following redirects. */
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { type Agent, get } from 'node:https';
import { failureOf } from '../domain/delivery-report.ts';
import type { Attachment } from '../domain/message.ts';
import type { SubmissionOutcome } from '../domain/provider-client.ts';
import { transient } from './verdict.ts';

export interface AttachmentLimits {
  /** Of one message. */
  readonly maxAttachments: number;
  readonly maxTotalBytes: number;
  /** Of all messages that are being sent at once. */
  readonly maxHeldBytes: number;
}

/** SendGrid takes 30 MB, in base64, which makes four bytes of three. */
export const ATTACHMENT_LIMITS: AttachmentLimits = { maxAttachments: 10, maxTotalBytes: 20_971_520, maxHeldBytes: 67_108_864 };

export interface AttachmentFile {
  readonly bytes: Buffer;
  /** Media type of the answer, without parameters; empty: it tells none. */
  readonly contentType: string;
}

/** Disposed of, the memory it takes is free for others. */
export type Fetched = Disposable &
  (
    | { readonly kind: 'fetched'; readonly files: readonly AttachmentFile[] }
    | { readonly kind: 'refused'; readonly outcome: SubmissionOutcome }
  );

export interface AttachmentFetcher extends Disposable {
  /** Never throws. */
  fetch(attachments: readonly Attachment[], timeoutMs: number): Promise<Fetched>;
}

class AttachmentError extends Error {
  override readonly name = 'AttachmentError';
  readonly kind: 'rejected' | 'transient';
  readonly code: string;

  constructor(kind: 'rejected' | 'transient', code: string, message: string) {
    super(message);
    this.kind = kind;
    this.code = code;
  }
}

const unavailable = (why: string): AttachmentError => new AttachmentError('rejected', 'ATTACHMENT_UNAVAILABLE', why);
const tooLarge = (why: string): AttachmentError => new AttachmentError('rejected', 'ATTACHMENT_TOO_LARGE', why);
const failed = (why: string): AttachmentError => new AttachmentError('transient', 'ATTACHMENT_FETCH_FAILED', why);

/** The same request may be answered otherwise later. */
const mayPass = (status: number): boolean => status === 408 || status === 425 || status === 429 || status >= 500;

function checkAnswer({ statusCode = 0, headers }: IncomingMessage): void {
  if (statusCode !== 200) throw mayPass(statusCode) ? failed(`HTTP ${statusCode}`) : unavailable(`HTTP ${statusCode}`);
  const encoding = headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity') throw unavailable('compressed although that was not asked for');
}

/** request-filtering-agent refuses an address with an Error that has a text and no code. */
const isForbidden = (error: unknown): boolean => error instanceof Error && !('code' in error) && error.message.includes('is not allowed');

function problemOf(error: unknown): AttachmentError {
  if (error instanceof AttachmentError) return error;
  if (isForbidden(error)) return new AttachmentError('rejected', 'ATTACHMENT_FORBIDDEN', 'not an address of the public internet');
  return failed('no whole answer');
}

/** Without parameters, which SendGrid refuses. At most as long as the contract has it. */
const MEDIA_TYPE = /^\s*([\w!#$&^.+-]{1,63}\/[\w!#$&^.+-]{1,63})\s*(?:;|$)/;

const mediaTypeOf = ({ headers }: IncomingMessage): string => MEDIA_TYPE.exec(headers['content-type'] ?? '')?.[1]?.toLowerCase() ?? '';

function addressOf(text: string): URL {
  const url = URL.parse(text);
  if (url === null || url.protocol !== 'https:') throw unavailable('not an https URL');
  return url;
}

/** Throw when there is no room for so many bytes: `check` before they come, `take` when they have come. */
interface Room {
  check(bytes: number): void;
  take(bytes: number): void;
}

/** `signal` ends it; whoever has it in hand aborts in any case, so that no request is left behind an answer that was not read. */
async function download(url: URL, agent: Agent, signal: AbortSignal, room: Room): Promise<AttachmentFile> {
  const request = get(url, { agent, signal, headers: { accept: '*/*', 'accept-encoding': 'identity' } });
  // What is not waited for any more must not end the process.
  request.on('error', () => undefined);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  checkAnswer(response);
  room.check(Number(response.headers['content-length'] ?? 0));
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) {
    room.take(chunk.byteLength);
    chunks.push(chunk);
  }
  return { bytes: Buffer.concat(chunks), contentType: mediaTypeOf(response) };
}

/** Of a public range, and still only for machines inside of Azure. */
const AZURE_METADATA = '168.63.129.16';

/** For the agent that connects: public addresses, and those that are allowed beside them. */
export function attachmentFilter(allowed: readonly string[]): {
  readonly allowIPAddressList: string[];
  readonly denyIPAddressList: string[];
} {
  return { allowIPAddressList: [...allowed], denyIPAddressList: [AZURE_METADATA] };
}

/** `agent` decides which addresses may be connected to; it is destroyed with the fetcher. */
export function attachmentFetcher(agent: Agent, limits: AttachmentLimits = ATTACHMENT_LIMITS): AttachmentFetcher {
  let heldBytes = 0;

  async function fetchAll(attachments: readonly Attachment[], timeoutMs: number, room: Room): Promise<AttachmentFile[]> {
    if (attachments.length > limits.maxAttachments) throw tooLarge(`${attachments.length} attachments`);
    const over = new AbortController();
    const signal = AbortSignal.any([AbortSignal.timeout(timeoutMs), over.signal]);
    const downloads = attachments.map(async ({ url }, index) => {
      try {
        return await download(addressOf(url), agent, signal, room);
      } catch (error) {
        const { kind, code, message } = problemOf(error);
        // URLs may carry tokens.
        throw new AttachmentError(kind, code, `attachment ${index + 1}: ${message}`);
      }
    });
    try {
      return await Promise.all(downloads);
    } finally {
      over.abort();
    }
  }

  return {
    async fetch(attachments, timeoutMs) {
      let takenBytes = 0;
      let isReleased = false;
      const check = (bytes: number): void => {
        if (takenBytes + bytes > limits.maxTotalBytes) throw tooLarge(`more than ${limits.maxTotalBytes} bytes in all`);
        if (heldBytes + bytes > limits.maxHeldBytes) throw failed('too many attachments at once');
      };
      const take = (bytes: number): void => {
        if (isReleased) throw failed('given up');
        check(bytes);
        takenBytes += bytes;
        heldBytes += bytes;
      };
      const release = (): void => {
        if (!isReleased) heldBytes -= takenBytes;
        isReleased = true;
      };
      try {
        const files = await fetchAll(attachments, timeoutMs, { check, take });
        return { kind: 'fetched', files, [Symbol.dispose]: release };
      } catch (error) {
        release();
        const { kind, code, message } = problemOf(error);
        const outcome =
          kind === 'transient'
            ? transient(failureOf('sendgrid', code, message, 'attempts_exhausted'))
            : { kind, failure: failureOf('sendgrid', code, message, 'rejected') };
        return { kind: 'refused', outcome, [Symbol.dispose]: () => undefined };
      }
    },
    [Symbol.dispose]: () => agent.destroy(),
  };
}
