/** A mail as SendGrid's v3 API takes it, and what it refuses. */
import { asFields, asList, asText, type Fields } from './simulator-json.ts';

export interface Recipient {
  readonly email: string;
  readonly subject: string;
  readonly args: Readonly<Record<string, string>>;
}

export interface Mail {
  readonly from: string;
  /** Everyone in to, cc and bcc, in this order. */
  readonly recipients: readonly Recipient[];
  readonly contents: readonly string[];
  readonly attachments: readonly string[];
  /** Checked, not sent. */
  readonly sandbox: boolean;
}

/** Refuses the mail in SendGrid's words. */
export class MailError extends Error {
  /** Path in the request, as SendGrid writes it: personalizations.0.to. */
  readonly field: string | null;
  constructor(message: string, field: string | null) {
    super(message);
    this.field = field;
  }
}

const EMAIL = /^[^\s@<>,;"]{1,64}@[^\s@<>,;"]{1,190}$/;
const BASE64 = /^[A-Za-z0-9+/\s]*={0,2}\s*$/;
const MAX_PERSONALIZATIONS = 1_000;
const MAX_RECIPIENTS = 1_000;
const MAX_ARGS_BYTES = 10_000;

const NO_RECIPIENT =
  'The to array is required for all personalization objects, and must have at least one email object with a valid email address.';
const NO_FROM =
  'The from object must be provided for every email send. It is an object that requires the email parameter, but may also contain a name parameter.  e.g. {"email" : "example@example.com"}  or {"email" : "example@example.com", "name" : "Example Recipient"}.';
const NO_SUBJECT =
  'The subject is required. You can get around this requirement if you use a template with a subject defined or if every personalization has a subject defined.';
const NO_CONTENT =
  'Unless a valid template_id is provided, the content parameter is required. There must be at least one defined content block. We typically suggest both text/plain and text/html blocks are included, but only one block is required.';

function emailOf(value: unknown, field: string): string {
  const email = asText(asFields(value)?.['email']);
  if (email === undefined || !EMAIL.test(email)) throw new MailError('Does not contain a valid address.', `${field}.email`);
  return email;
}

function emailsOf(personalization: Fields, field: string): readonly string[] {
  const to = asList(personalization['to']) ?? [];
  if (to.length === 0) throw new MailError(NO_RECIPIENT, `${field}.to`);
  const emails = ['to', 'cc', 'bcc'].flatMap((list) =>
    (asList(personalization[list]) ?? []).map((entry, index) => emailOf(entry, `${field}.${list}.${index}`)),
  );
  if (new Set(emails.map((email) => email.toLowerCase())).size < emails.length) {
    const message = 'Each email address in the personalization block should be unique between to, cc, and bcc.';
    throw new MailError(message, field);
  }
  return emails;
}

function argsOf(value: unknown, field: string): Readonly<Record<string, string>> {
  if (value === undefined) return {};
  const args = asFields(value);
  const entries = Object.entries(args ?? {});
  if (args === undefined || !entries.every(([, arg]) => typeof arg === 'string')) {
    throw new MailError('The custom_args must be an object of strings.', field);
  }
  if (Buffer.byteLength(JSON.stringify(args)) > MAX_ARGS_BYTES) {
    throw new MailError('The custom_args must be less than 10000 bytes.', field);
  }
  return args as Readonly<Record<string, string>>;
}

function recipientsOf(mail: Fields): readonly Recipient[] {
  const personalizations = asList(mail['personalizations']) ?? [];
  if (personalizations.length === 0) {
    throw new MailError('The personalizations field is required and must have at least one personalization.', 'personalizations');
  }
  if (personalizations.length > MAX_PERSONALIZATIONS) {
    throw new MailError('The personalizations array must have at most 1000 items.', 'personalizations');
  }
  const shared = argsOf(mail['custom_args'], 'custom_args');
  const recipients = personalizations.flatMap((value, index) => {
    const field = `personalizations.${index}`;
    const personalization = asFields(value) ?? {};
    const emails = emailsOf(personalization, field);
    const subject = asText(personalization['subject']) || asText(mail['subject']) || '';
    if (subject === '' && mail['template_id'] === undefined) throw new MailError(NO_SUBJECT, 'subject');
    const args = { ...shared, ...argsOf(personalization['custom_args'], `${field}.custom_args`) };
    return emails.map((email) => ({ email, subject, args }));
  });
  if (recipients.length > MAX_RECIPIENTS) throw new MailError('There are more than 1000 recipients.', 'personalizations');
  return recipients;
}

function contentsOf(mail: Fields): readonly string[] {
  const contents = asList(mail['content']) ?? [];
  if (contents.length === 0 && mail['template_id'] === undefined) throw new MailError(NO_CONTENT, 'content');
  return contents.map((value, index) => {
    const [type, text] = [asText(asFields(value)?.['type']), asText(asFields(value)?.['value'])];
    if (!type) throw new MailError('The content type is required.', `content.${index}.type`);
    if (!text) throw new MailError('The content value must be a string at least one character in length.', `content.${index}.value`);
    if (type === 'text/plain' && index > 0) {
      const order = 'If present, text/plain and text/html may only be provided once, text/plain first.';
      throw new MailError(order, `content.${index}.type`);
    }
    return text;
  });
}

function attachmentsOf(mail: Fields): readonly string[] {
  return (asList(mail['attachments']) ?? []).map((value, index) => {
    const [content, filename] = [asText(asFields(value)?.['content']), asText(asFields(value)?.['filename'])];
    const field = `attachments.${index}`;
    if (!content) throw new MailError('The attachment content is required.', `${field}.content`);
    if (!BASE64.test(content)) throw new MailError('The attachment content must be base64 encoded.', `${field}.content`);
    if (!filename) throw new MailError('The attachment filename is required.', `${field}.filename`);
    return content;
  });
}

/** Throws a MailError for the first thing that is wrong. */
export function readMail(value: unknown): Mail {
  const mail = asFields(value);
  if (mail === undefined) throw new MailError('Bad Request', null);
  const recipients = recipientsOf(mail);
  if (asText(asFields(mail['from'])?.['email']) === undefined) throw new MailError(NO_FROM, 'from.email');
  return {
    from: emailOf(mail['from'], 'from'),
    recipients,
    contents: contentsOf(mail),
    attachments: attachmentsOf(mail),
    sandbox: asFields(asFields(mail['mail_settings'])?.['sandbox_mode'])?.['enable'] === true,
  };
}
