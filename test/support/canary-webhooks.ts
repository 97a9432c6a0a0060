/** Webhooks with secrets everywhere in them. */
import { randomUUID } from 'node:crypto';
import { canaries, email, ourEmail, ourPhone, theirEmail, theirPhone } from './canary-run.ts';
import {
  eventsBody,
  MULTIPART,
  mailFields,
  multipartBody,
  type Posted,
  type SigningKey,
  sendgridPost,
  twilioPost,
  twilioStatus,
} from './signed-webhooks.ts';

/** About a message, and with messages; some that cannot be read, and some that nobody signed. `body`: the text of those with one. */
export function canaryWebhooks(key: SigningKey, messageId: string, body: string): readonly Posted[] {
  const at = new Date();
  const sign = (endpoint: 'sendgrid_events' | 'sendgrid_inbound', contentType: string, content: Buffer) =>
    sendgridPost({ endpoint, contentType, body: content, key, at });
  const about = { sg_event_id: randomUUID(), sg_message_id: 'x', message_id: messageId, email: theirEmail, reason: canaries.providerText };
  // Of another mailbox, which nobody writes to later.
  const deleted = { message_id: randomUUID(), email: `${canaries.theirEmail}@deleted.example.com` };
  const mail = {
    headers: `Message-ID: <${randomUUID()}>\r\nReply-To: ${canaries.replyTo}@example.com\r\n`,
    envelope: JSON.stringify({ from: theirEmail, to: [ourEmail] }),
    from: theirEmail,
    subject: canaries.subject,
    text: body,
    html: canaries.html,
  };
  const file = { name: 'attachment1', filename: canaries.filename, type: 'text/plain', bytes: Buffer.from(canaries.body) };
  const received = { MessageSid: randomUUID(), From: theirPhone, To: ourPhone, Body: body };
  return [
    twilioStatus(messageId, 1, 'failed', { MessageSid: randomUUID(), ErrorMessage: canaries.providerText, To: theirPhone }),
    twilioPost('twilio_status', { MessageSid: randomUUID(), MessageStatus: 'sent', Body: body, To: theirPhone }),
    twilioPost('twilio_inbound', received),
    twilioPost('twilio_inbound', { ...received, MessageSid: randomUUID(), From: canaries.wrongAddress }),
    { ...twilioPost('twilio_inbound', received), body: Buffer.from(`Body=${body}`) },
    sign('sendgrid_events', 'application/json', eventsBody([{ ...about, event: 'bounce' }, { email: theirEmail }])),
    sign('sendgrid_events', 'application/json', eventsBody([{ ...about, ...deleted, event: 'spamreport' }])),
    sign('sendgrid_events', 'application/json', Buffer.from(`[{"${canaries.metaKey}": ${email.body}`)),
    sign('sendgrid_inbound', MULTIPART, multipartBody(mailFields(mail), [file])),
    sign('sendgrid_inbound', 'text/plain', Buffer.from(body)),
  ];
}
