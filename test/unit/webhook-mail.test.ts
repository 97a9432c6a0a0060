/** Mail as SendGrid's Inbound Parse posts it. */
import { describe, expect, it } from 'vitest';
import { parseSendgridInbound } from '../../src/providers/sendgrid-inbound.ts';
import { MULTIPART, type MultipartFile, mailFields, multipartBody } from '../support/signed-webhooks.ts';

async function receive(mail: Readonly<Record<string, string | Buffer>> = {}, files: readonly MultipartFile[] = []) {
  const body = multipartBody(mailFields(mail), files);
  const [event, ...more] = await parseSendgridInbound({ endpoint: 'sendgrid_inbound', path: '', contentType: MULTIPART, body });
  if (event?.kind !== 'inbound' || more.length > 0) throw new Error(`it is not one mail: ${JSON.stringify(event)}`);
  return event.inbound;
}

const headers = (...lines: readonly string[]): string => ['Received: by mx', ...lines, ''].join('\r\n');

describe('a mail', () => {
  it('has addresses, texts and ids', async () => {
    const more = { html: '<p>How are you?</p>', spam_score: '0.1', SPF: 'pass' };
    const lines = headers('Message-ID: <1@example.org>', 'In-Reply-To: <0@example.com>', 'Reply-To: Desk <desk@example.org>');
    expect(await receive({ ...more, headers: lines })).toEqual({
      provider: 'sendgrid',
      providerMessageId: '<1@example.org>',
      messageType: 'email',
      fromAddress: 'ada@example.org',
      toAddress: 'support@example.com',
      body: 'How are you?',
      attachments: [],
      email: {
        subject: 'Hello',
        htmlBody: '<p>How are you?</p>',
        replyTo: 'desk@example.org',
        internetMessageId: '<1@example.org>',
      },
      metaData: { in_reply_to: '<0@example.com>', spam_score: '0.1', spf: 'pass' },
      occurredAt: undefined,
    });
  });

  it.each([
    ['ada@example.org', 'ada@example.org'],
    [' <ada@example.org> ', 'ada@example.org'],
    ['"Lovelace, Ada <countess@example.com>" <ada@example.org>', 'ada@example.org'],
    ['Ada \\"the\\" Lovelace <ada@example.org> (work)', 'ada@example.org'],
    ['ada@example.org, charles@example.org', 'ada@example.org'],
    ['nobody', 'nobody'],
    [`${'"'.repeat(100_000)}<`, ''],
  ])('from %.60s is from its address', async (from, address) => {
    const { fromAddress } = await receive({ from });
    expect(address === '' ? fromAddress.length <= 320 : fromAddress === address).toBe(true);
  });

  it('from nobody is from the sender of its envelope', async () => {
    expect((await receive({ from: '' })).fromAddress).toBe('ada@example.org');
    const lines = headers('Message-ID: <1@example.org>');
    expect((await receive({ from: '', headers: lines })).fromAddress).toBe('bounces@example.org');
  });

  it('comes to the mailbox that its envelope names, and tells of all', async () => {
    const several = { envelope: JSON.stringify({ to: ['sales@example.com', 'support@example.com'], from: '' }) };
    expect(await receive(several)).toMatchObject({
      toAddress: 'sales@example.com',
      metaData: { recipients: ['sales@example.com', 'support@example.com'] },
    });
    for (const envelope of ['', '{', '7', '{"to":"x"}', '{"to":[7]}']) {
      expect((await receive({ envelope })).toAddress).toBe('support@example.com');
    }
  });

  it('is read in the charsets that it says it has', async () => {
    const charsets = JSON.stringify({ subject: 'ISO-8859-1', text: 'windows-1251', html: 'Shift_JIS', from: 'klingon' });
    const read = await receive({
      charsets,
      subject: Buffer.from([0x47, 0x72, 0xfc, 0xdf, 0x65]),
      text: Buffer.from([0xcf, 0xf0, 0xe8, 0xe2, 0xe5, 0xf2]),
      html: Buffer.from([0x83, 0x6e, 0x83, 0x8d, 0x81, 0x5b]),
    });
    expect([read.email?.subject, read.body, read.email?.htmlBody]).toEqual(['Grüße', 'Привет', 'ハロー']);
    expect(read.fromAddress).toBe('ada@example.org');
    expect((await receive({ charsets: '{', text: Buffer.from([0x63, 0xe9]) })).body).toBe('c\uFFFD');
  });

  it.each([
    ['in capitals', 'MESSAGE-ID:<2@example.org>', '<2@example.org>'],
    ['on a folded line', 'Message-Id:\r\n\t<2@example.org>', '<2@example.org>'],
    ['after one that is alike', 'X-Message-ID: <3@example.org>\r\nMessage-ID: <2@example.org>', '<2@example.org>'],
  ])('has its Message-ID %s', async (_where, line, id) => {
    expect(await receive({ headers: headers(line) })).toMatchObject({ providerMessageId: id, email: { internetMessageId: id } });
  });

  it.each([
    ['none', 'Subject: Hello'],
    ['too long a one', `Message-ID: <${'x'.repeat(300)}@example.org>`],
  ])('with %s for a Message-ID is known by its content', async (_what, line) => {
    const [one, again, other] = [
      await receive({ headers: headers(line) }),
      await receive({ headers: headers(line) }),
      await receive({ headers: headers(line), text: 'Other' }),
    ];
    expect(one.providerMessageId).toMatch(/^[\w-]{43}$/);
    expect(again.providerMessageId).toBe(one.providerMessageId);
    expect(other.providerMessageId).not.toBe(one.providerMessageId);
  });

  it('tells of its attachments, whose bytes are not kept', async () => {
    const files = [
      { name: 'attachment1', filename: 'plan.pdf', type: 'application/pdf', bytes: Buffer.alloc(100_000, 0xff) },
      { name: 'attachment2', filename: 'logo.png', type: 'image/png', bytes: Buffer.of() },
    ];
    const info = { attachment1: { filename: 'plän.pdf', type: 'application/pdf', 'content-id': 'cid1' } };
    const { metaData, attachments } = await receive({ 'attachment-info': JSON.stringify(info) }, files);
    expect(attachments).toEqual([]);
    expect(metaData).toEqual({
      attachment_count: 2,
      attachments: [
        { filename: 'plän.pdf', content_type: 'application/pdf', size_bytes: 100_000, content_id: 'cid1' },
        { filename: 'logo.png', content_type: 'image/png', size_bytes: 0 },
      ],
    });
  });

  it('stays within the limits of the contract, whatever it has', async () => {
    const filename = '\u{1f600}'.repeat(120);
    const files = Array.from({ length: 100 }, (_, index) => ({ name: `attachment${index}`, filename, type: 'x/y', bytes: Buffer.of(1) }));
    const long = '\u{1f600}'.repeat(400_000);
    const envelope = JSON.stringify({ from: '', to: Array.from({ length: 1_000 }, (_, index) => `user${index}@example.com`) });
    const mail = { text: long, html: long, subject: `a\r\nb${long}`, spam_score: long, envelope };
    const { body, email, metaData } = await receive(mail, files);
    expect([Buffer.byteLength(body), Buffer.byteLength(email?.htmlBody ?? '')]).toEqual([1_048_576, 1_048_576]);
    expect(email?.subject.startsWith('a b')).toBe(true);
    expect(email?.subject.length).toBeLessThanOrEqual(998);
    expect(Buffer.byteLength(JSON.stringify(metaData))).toBeLessThanOrEqual(16_384);
    expect(metaData['attachment_count']).toBe(100);
    for (const text of [body, JSON.stringify(email), JSON.stringify(metaData)]) expect(text.isWellFormed()).toBe(true);
  });

  it.each([
    ['as the raw message', multipartBody({ email: 'Message-ID: <1@example.org>\r\n\r\nHello', envelope: '{}' })],
    ['cut off', multipartBody(mailFields()).subarray(0, -10)],
    ['empty', Buffer.of()],
    ['of too many parts', multipartBody(Object.fromEntries(Array.from({ length: 1_001 }, (_, index) => [`f${index}`, ''])))],
  ])('posted %s is unreadable', async (_how, body) => {
    const events = await parseSendgridInbound({ endpoint: 'sendgrid_inbound', path: '', contentType: MULTIPART, body });
    expect(events).toEqual([{ kind: 'unreadable', error: expect.stringMatching(/^it /) }]);
  });
});
