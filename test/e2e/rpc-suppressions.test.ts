/** Opt-outs as other services see them: the four calls, what SendMessage says, and what PreviewMessage says before. */
import { randomUUID } from 'node:crypto';
import { timestampDate } from '@bufbuild/protobuf/wkt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MessageType, Provider, Segmentation_Encoding } from '../../gen/messaging/v1/message_pb.js';
import { type Suppression, Suppression_Source } from '../../gen/messaging/v1/suppression_service_pb.js';
import { startTestApp, type TestApp } from '../support/apps.ts';
import { createDatabase } from '../support/database.ts';
import { failure, protocols, type Services, servicesOf } from '../support/protocols.ts';
import { scrape } from '../support/scrape.ts';

const opened = new AsyncDisposableStack();
let app: TestApp;
let services: Services;

beforeAll(async () => {
  const database = opened.use(await createDatabase());
  app = opened.use(await startTestApp({ DATABASE_URL: database.url }));
  services = servicesOf(app);
});
afterAll(async () => {
  const bugs = app.logLines().filter(({ level }) => level === 'error');
  await opened.disposeAsync();
  expect(bugs).toEqual([]);
});

const us = '+14155552671';
let people = 0;
/** Somebody whom no other test knows. */
const newNumber = () => `+1415555${4_000 + ++people}`;
const newMailbox = () => `Person.${++people}@Example.com`;
const sms = (toAddress: string) => ({ fromAddress: us, toAddress, body: 'hello', messageType: MessageType.SMS });
const email = (toAddress: string) => ({ fromAddress: 'us@example.com', toAddress, body: 'hello', email: { subject: 'hello' } });
const [phone, mail] = [{ channelType: MessageType.SMS }, { channelType: MessageType.EMAIL }];

const of = async (address: string) => (await services.suppressions.getSuppression({ address })).suppressions;
const say = (fromAddress: string, body: string) =>
  services.providerEvents.receiveMessage({
    ...{ provider: Provider.TWILIO, providerMessageId: randomUUID(), messageType: MessageType.SMS },
    ...{ fromAddress, toAddress: us, body },
  });
const sinceOf = (suppression: Suppression | undefined) => suppression?.createdAt && timestampDate(suppression.createdAt).toISOString();

describe.each(protocols)('through %s', (protocol) => {
  it('RECIPIENT_OPTED_OUT tells who, since when, and in which message', async () => {
    const through = servicesOf(app, protocol);
    const [toAddress, other] = [newNumber(), newNumber()];
    const { suppression } = await through.suppressions.createSuppression({ address: toAddress, ...phone });
    const optedOut = {
      ...{ code: 'FailedPrecondition', reason: 'RECIPIENT_OPTED_OUT', domain: 'messaging.v1' },
      metadata: { address: toAddress, since: sinceOf(suppression) },
    };
    const refused = await failure(through.messages.sendMessage({ message: sms(toAddress) }));
    expect(refused).toMatchObject({ ...optedOut, fields: ['message.to_address'] });
    const requests = [{ message: sms(other) }, { message: sms(toAddress) }];
    const batch = await failure(through.messages.batchSendMessages({ requests }));
    expect(batch).toMatchObject({ ...optedOut, fields: ['requests[1].message.to_address'] });
    expect((await through.messages.listMessages({ filter: { address: other } })).messages).toEqual([]);
  });
});

describe('CreateSuppression', () => {
  it('answers with the suppression, its addresses normalized', async () => {
    const { suppression } = await services.suppressions.createSuppression({ address: '+1 (415) 555-2690', fromAddress: us, ...phone });
    expect(suppression).toMatchObject({ address: '+14155552690', fromAddress: us, source: Suppression_Source.MANUAL, messageId: '' });
    expect(suppression?.channelType).toBe(MessageType.SMS);
    expect(await of('+1 415 555 2690')).toEqual([suppression]);
  });

  it('changes nothing when the address is suppressed already, whatever its case', async () => {
    const address = newMailbox();
    const first = await services.suppressions.createSuppression({ address, ...mail });
    const again = await services.suppressions.createSuppression({ address: address.toUpperCase(), ...mail });
    expect(again).toEqual(first);
  });

  it('makes one that the recipient could lift its own, as old as it was', async () => {
    const number = newNumber();
    await say(number, 'STOP');
    const [stopped] = await of(number);
    const { suppression } = await services.suppressions.createSuppression({ address: number, fromAddress: us, ...phone });
    expect(suppression).toEqual({ ...stopped, source: Suppression_Source.MANUAL, messageId: '' });
    await say(number, 'START');
    expect(await of(number)).toEqual([suppression]);
  });

  it.each([
    [{ address: 'ann@example.com', ...phone }, 'ADDRESS_INVALID', 'address'],
    [{ address: us, ...mail }, 'ADDRESS_INVALID', 'address'],
    [{ address: '12345', ...phone }, 'ADDRESS_INVALID', 'address'],
    [{ address: us, fromAddress: 'us@example.com', ...phone }, 'ADDRESS_INVALID', 'from_address'],
    [{ address: 'ann@example.com', fromAddress: us, ...mail }, 'ADDRESS_INVALID', 'from_address'],
    [{ address: us, channelType: MessageType.MMS }, 'FIELD_INVALID', 'channel_type'],
    [{ address: us }, 'FIELD_INVALID', 'channel_type'],
    [{ address: '', ...phone }, 'FIELD_INVALID', 'address'],
  ])('refuses %j with %s', async (request, reason, field) => {
    const refused = await failure(services.suppressions.createSuppression(request));
    expect(refused).toMatchObject({ code: 'InvalidArgument', reason, fields: [field] });
  });
});

describe('GetSuppression', () => {
  it('answers with all of one address, oldest first, and with none when it may be messaged', async () => {
    const number = newNumber();
    expect(await of(number)).toEqual([]);
    const { message } = await say(number, 'Stop');
    await services.suppressions.createSuppression({ address: number, ...phone });
    expect(await of(number)).toMatchObject([
      { source: Suppression_Source.KEYWORD, fromAddress: us, messageId: message?.id },
      { source: Suppression_Source.MANUAL, fromAddress: '', messageId: '' },
    ]);
    await say(number, 'start');
    expect(await of(number)).toMatchObject([{ source: Suppression_Source.MANUAL }]);
  });

  it.each(['72345', 'O2'])('knows %s, which writes STOP, too', async (sender) => {
    await say(sender, 'STOP');
    expect(await of(sender)).toMatchObject([{ address: sender, source: Suppression_Source.KEYWORD }]);
    await services.suppressions.deleteSuppression({ address: sender, fromAddress: us, ...phone });
    expect(await of(sender)).toEqual([]);
  });

  it('says that an address is none, not that it may be messaged', async () => {
    expect(await failure(services.suppressions.getSuppression({ address: '+1 555' }))).toMatchObject({
      ...{ code: 'InvalidArgument', reason: 'ADDRESS_INVALID' },
      metadata: { field: 'address' },
    });
  });
});

describe('DeleteSuppression', () => {
  it('lifts the one that it names, and succeeds when there is none', async () => {
    const number = newNumber();
    await say(number, 'STOP');
    await services.suppressions.createSuppression({ address: number, ...phone });
    for (const _twice of [1, 2]) await services.suppressions.deleteSuppression({ address: number, ...phone });
    expect(await of(number)).toMatchObject([{ source: Suppression_Source.KEYWORD }]);
    await services.suppressions.deleteSuppression({ address: number, fromAddress: us, ...phone });
    expect(await of(number)).toEqual([]);
    await expect(services.messages.sendMessage({ message: sms(number) })).resolves.toBeDefined();
  });
});

describe('ListSuppressions', () => {
  it('lists newest first, page by page, of one channel or of all', async () => {
    const created = [newNumber(), newMailbox(), newNumber(), newMailbox(), newNumber()];
    for (const address of created) {
      const channelType = address.includes('@') ? MessageType.EMAIL : MessageType.SMS;
      await services.suppressions.createSuppression({ address, channelType });
    }
    const wanted = created.map((address) => address.toLowerCase()).toReversed();
    const pages = async (channelType: MessageType, pageSize: number) => {
      const seen: string[] = [];
      for (let pageToken = '', round = 0; round < 50; round += 1) {
        const page = await services.suppressions.listSuppressions({ channelType, pageSize, pageToken });
        seen.push(...page.suppressions.map(({ address }) => address.toLowerCase()));
        pageToken = page.nextPageToken;
        if (pageToken === '') break;
      }
      return seen.filter((address) => wanted.includes(address));
    };
    expect(await pages(MessageType.UNSPECIFIED, 2)).toEqual(wanted);
    expect(await pages(MessageType.SMS, 1)).toEqual(wanted.filter((address) => !address.includes('@')));
    expect(await pages(MessageType.EMAIL, 0)).toEqual(wanted.filter((address) => address.includes('@')));
  });

  it('binds its page tokens to the channel, and takes no other', async () => {
    await services.suppressions.createSuppression({ address: newNumber(), ...phone });
    await services.suppressions.createSuppression({ address: newNumber(), ...phone });
    const { nextPageToken: pageToken } = await services.suppressions.listSuppressions({ ...phone, pageSize: 1 });
    const invalid = { code: 'InvalidArgument', reason: 'PAGE_TOKEN_INVALID', fields: ['page_token'] };
    expect(await failure(services.suppressions.listSuppressions({ pageToken }))).toMatchObject(invalid);
    expect(await failure(services.suppressions.listSuppressions({ ...phone, pageToken: 'nonsense' }))).toMatchObject(invalid);
    const mms = services.suppressions.listSuppressions({ channelType: MessageType.MMS });
    expect(await failure(mms)).toMatchObject({ reason: 'FIELD_INVALID', fields: ['channel_type'] });
  });
});

describe('PreviewMessage', () => {
  const preview = (message: Parameters<typeof services.messages.previewMessage>[0]['message']) =>
    services.messages.previewMessage(message === undefined ? {} : { message });

  it('tells what would be stored, down to the conversation', async () => {
    const number = newNumber();
    const spelled = `${number.slice(0, 2)} (${number.slice(2, 5)}) ${number.slice(5)}`;
    const message = { fromAddress: '+1 415 555 2671', toAddress: spelled, body: `${'a'.repeat(150)}\u{1f44b}` };
    expect(await preview(message)).toMatchObject({
      ...{ fromAddress: us, toAddress: number, messageType: MessageType.SMS, provider: Provider.TWILIO },
      segmentation: { encoding: Segmentation_Encoding.UCS2, segmentCount: 3, nonGsmCharacters: ['\u{1f44b}'] },
      ...{ suppressed: false, conversationId: '' },
    });
    const { message: sent } = await services.messages.sendMessage({ message });
    expect(await preview(message)).toMatchObject({ conversationId: sent?.conversationId, segmentation: sent?.segmentation });
    expect(await preview(email(newMailbox()))).toMatchObject({ messageType: MessageType.EMAIL, provider: Provider.SENDGRID });
    const picture = { ...message, attachments: [{ url: 'https://example.com/a.png' }] };
    expect(await preview(picture)).toMatchObject({ messageType: MessageType.MMS, suppressed: false });
    expect((await preview(picture)).segmentation).toBeUndefined();
  });

  it('tells that the recipient has opted out', async () => {
    const [number, mailbox] = [newNumber(), newMailbox()];
    await say(number, 'STOP');
    await services.suppressions.createSuppression({ address: mailbox, ...mail });
    expect((await preview(sms(number))).suppressed).toBe(true);
    expect((await preview(email(mailbox))).suppressed).toBe(true);
    expect((await preview({ ...sms(number), fromAddress: '+14155552699' })).suppressed).toBe(false);
  });

  it('fails as sending would', async () => {
    const [number, other] = [newNumber(), newNumber()];
    const { message: sent } = await services.messages.sendMessage({ message: sms(number) });
    const { message: elsewhere } = await services.messages.sendMessage({ message: sms(other) });
    const conversationId = sent?.conversationId ?? '';
    expect(await preview({ ...sms(number), conversationId })).toMatchObject({ conversationId });
    expect(await preview({ ...sms(number), parentId: sent?.id ?? '' })).toMatchObject({ conversationId });
    await services.conversations.closeConversation({ id: elsewhere?.conversationId ?? '' });
    for (const message of [
      { ...sms(number), conversationId: randomUUID() },
      { ...sms(other), conversationId },
      { ...sms(other), conversationId: elsewhere?.conversationId ?? '' },
      { ...sms(number), parentId: randomUUID() },
      { ...sms(number), parentId: elsewhere?.id ?? '' },
      { ...sms(newNumber()), parentId: sent?.id ?? '' },
      sms('12345'),
      { ...sms(number), attachments: [{ url: 'https://localhost/a.png' }], messageType: MessageType.MMS },
    ]) {
      const [asPreview, asSent] = [await failure(preview(message)), await failure(services.messages.sendMessage({ message }))];
      expect(asPreview).toEqual(asSent);
    }
  });
});

it('messages that are refused are counted', async () => {
  const counted = async () => (await scrape(app)).sum('delivery_suppressed_total', { where: 'send' });
  const before = await counted();
  const number = newNumber();
  await say(number, 'STOP');
  for (const _twice of [1, 2]) await failure(services.messages.sendMessage({ message: sms(number) }));
  expect((await counted()) - before).toBe(2);
});
