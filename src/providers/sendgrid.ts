/** SendGrid's v3 API through its SDK. */
import type sharedClient from '@sendgrid/client';
import type sharedMail from '@sendgrid/mail';
import type { EmailContent } from '../domain/message.ts';
import { ECHO, type LookupOutcome, type LostSubmission, type Submission } from '../domain/provider-client.ts';
import type { Transport } from './exchange.ts';
import type { AttachmentFetcher, AttachmentFile } from './fetch-attachments.ts';
import type { Limits, ProviderApi, Refusal } from './guarded-client.ts';
import { submissionIdOf } from './sendgrid-ids.ts';

export interface SendgridOptions {
  readonly apiKey: string;
  /** Without a slash at its end. */
  readonly apiUrl: string;
  readonly limits: Limits;
}

const LOOK_UP_LIMIT = 10;

type Client = typeof sharedClient;
type MailService = typeof sharedMail;
type Mail = Exclude<Parameters<MailService['send']>[0], readonly unknown[]>;

const NO_CONTENT: EmailContent = { subject: '', htmlBody: '', replyTo: '', internetMessageId: '' };

/** As the SDK sends it: it does not look into arrays to spell names with `_`. */
interface AttachmentJson {
  readonly content: string;
  readonly filename: string;
  readonly type: string;
  readonly disposition: 'inline' | 'attachment';
  readonly content_id?: string;
}

function attachmentsOf({ attachments }: Submission, files: readonly AttachmentFile[]): AttachmentJson[] {
  return attachments.map(({ filename, contentType, contentId }, index) => ({
    content: files[index]?.bytes.toString('base64') ?? '',
    filename: filename === '' ? `attachment-${index + 1}` : filename,
    type: contentType || files[index]?.contentType || 'application/octet-stream',
    ...(contentId === '' ? { disposition: 'attachment' } : { disposition: 'inline', content_id: contentId }),
  }));
}

function mailOf(submission: Submission, files: readonly AttachmentFile[]): Mail {
  const { messageId, attempt, fromAddress, toAddress, body } = submission;
  const { subject, htmlBody, replyTo } = submission.email ?? NO_CONTENT;
  const text = { type: 'text/plain', value: body };
  const html = { type: 'text/html', value: htmlBody };
  return {
    from: fromAddress,
    to: toAddress,
    subject,
    ...(replyTo === '' ? {} : { replyTo }),
    // SendGrid wants some content, and none of it empty, with the plain text first.
    content: htmlBody === '' ? [text] : body === '' ? [html] : [text, html],
    customArgs: { [ECHO.messageId]: messageId, [ECHO.attempt]: String(attempt) },
    ...(files.length === 0 ? {} : { attachments: attachmentsOf(submission, files) }),
  };
}

interface Connection {
  readonly client: Client;
  readonly mail: MailService;
}

async function connect({ apiKey, apiUrl }: SendgridOptions, transport: Transport): Promise<Connection> {
  const [clientModule, mailModule] = await Promise.all([import('@sendgrid/client'), import('@sendgrid/mail')]);
  // The classes are there, beside the instances that all users of the packages share; the types do not let ES modules see them.
  const { Client } = clientModule.default as unknown as { readonly Client: new () => Client };
  const { MailService } = mailModule.default as unknown as { readonly MailService: new () => MailService };
  const client = new Client();
  // setApiKey would write to the console about keys of another form, and put its own base URL.
  client.setDefaultHeader('Authorization', `Bearer ${apiKey}`);
  client.setDefaultRequest({ ...transport.settings, url: '', baseUrl: `${apiUrl}/` });
  const mail = new MailService();
  mail.setClient(client);
  return { client, mail };
}

interface ErrorJson {
  readonly message?: unknown;
  readonly field?: unknown;
}

function refusalOf(error: unknown): Refusal {
  const { response } = error as { readonly response?: { readonly body?: { readonly errors?: unknown } } };
  const errors: readonly ErrorJson[] = Array.isArray(response?.body?.errors) ? response.body.errors : [];
  const texts = errors.map(({ message }) => message).filter((message) => typeof message === 'string');
  return {
    code: '',
    text: texts.join('; '),
    // A sender that is not verified is a 403, which would otherwise be taken for our credentials.
    blamesMessage: errors.some(({ field }) => typeof field === 'string' && field !== ''),
  };
}

interface ActivityJson {
  readonly msg_id?: unknown;
  readonly last_event_time?: unknown;
  readonly unique_args?: Readonly<Record<string, unknown>>;
}

function foundIn(activities: readonly ActivityJson[], attempt: number): LookupOutcome {
  const ids = activities
    .filter(({ unique_args: args }) => [undefined, String(attempt)].includes(args?.[ECHO.attempt]?.toString()))
    .toSorted((one, other) => (String(one.last_event_time) < String(other.last_event_time) ? -1 : 1))
    .flatMap(({ msg_id: id }) => (typeof id === 'string' && id !== '' ? [submissionIdOf(id)] : []));
  return ids.length === 0 ? { kind: 'absent' } : { kind: 'found', by: 'message_id', providerMessageIds: [...new Set(ids)] };
}

/** Asks the Email Activity API, which is not part of every contract. It lags behind by minutes. */
async function find(client: Client, { messageId, attempt }: LostSubmission): Promise<LookupOutcome> {
  const qs = { limit: LOOK_UP_LIMIT, query: `(unique_args['${ECHO.messageId}']="${messageId}")` };
  const [, body] = await client.request({ method: 'GET', url: '/v3/messages', qs });
  const { messages } = body as { readonly messages?: unknown };
  return Array.isArray(messages) ? foundIn(messages, attempt) : { kind: 'unavailable' };
}

/** X-Message-Id. */
function acceptedIdOf(headers: unknown): string | undefined {
  const id = (headers as Readonly<Record<string, unknown>>)['x-message-id'];
  return typeof id === 'string' ? id : undefined;
}

export function sendgridApi(options: SendgridOptions, transport: Transport, fetcher: AttachmentFetcher): ProviderApi {
  let connected: Promise<Connection> | undefined;
  const load = (): Promise<Connection> => {
    connected ??= connect(options, transport);
    return connected;
  };
  return {
    provider: 'sendgrid',
    url: new URL(options.apiUrl),
    remedy: 'Set SENDGRID_API_KEY to an active key with the right to send mail and start the process again',
    load,
    async submit(submission, preparationMs, ask) {
      using fetched = await fetcher.fetch(submission.attachments, preparationMs);
      if (fetched.kind === 'refused') return fetched.outcome;
      const { files } = fetched;
      return await ask(async () => {
        const { mail } = await load();
        const [{ headers }] = await mail.send(mailOf(submission, files));
        return acceptedIdOf(headers);
      });
    },
    sendersMayLookUp: false,
    lookUp: async (lost) => find((await load()).client, lost),
    refusalOf,
  };
}
