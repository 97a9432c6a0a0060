/** A few ten thousand rows with the uneven shares of real traffic: rare types, rare failures, a few conversations with many messages. */
import type pg from 'pg';

const CONVERSATIONS = 20_000;
const MESSAGES = 30_000;
const SUPPRESSIONS = 20_000;

const uuid = (number: string, kind: string) => `('00000000-0000-7000-${kind}-' || lpad(to_hex(${number}), 12, '0'))::uuid`;
const idOf = (kind: string) => (number: number) => `00000000-0000-7000-${kind}-${number.toString(16).padStart(12, '0')}`;

export const conversationId = idOf('8000');
export const messageId = idOf('9000');
export const webhookRequestId = idOf('b000');
/** One of forty numbers of ours, each with hundreds of conversations. */
export const ourNumber = '+1415555007';
/** The other side of `busyConversationId`. */
export const theirNumber = '+12125000001';
/** It has 3,000 messages; most others have one or two. */
export const busyConversationId = conversationId(1);
/** Id of a suppression. */
export const suppressionId = idOf('b000');
/** It has 75 replies. */
export const answeredMessageId = messageId(1);

const FILL_CONVERSATIONS = `
  insert into conversations (id, participant_from, participant_to, from_key, to_key, channel_type, status, message_count, unread_count,
    last_sequence, title, last_message_at, created_at)
  select ${uuid('n', '8000')}, ours, theirs, ours, theirs, channel,
    case when n % 10 < 2 then 'closed' when n % 100 = 17 then 'archived' else 'active' end,
    1, case when n % 25 = 0 then 2 else 0 end, 1, 'order ' || n, moment, moment
  from generate_series(1, ${CONVERSATIONS}) n,
    lateral (select case when n % 50 = 3 then 'email' else 'sms' end as channel,
      '2026-01-01'::timestamptz + n * interval '1 minute' as moment) kind,
    lateral (select case channel when 'email' then 'support@example.com' else '+14155550' || lpad((n % 40)::text, 2, '0') end as ours,
      case channel when 'email' then 'person' || n || '@example.org' else '+1212' || (5000000 + n) end as theirs) sides`;

const FILL_MESSAGES = `
  insert into messages (id, conversation_id, provider, provider_message_id, direction, status, failure, message_type, from_address, to_address,
    body, parent_id, sequence, created_at)
  select ${uuid('n', '9000')}, c.id, case c.channel_type when 'email' then 'sendgrid' else 'twilio' end, 'SM' || n,
    case when inbound then 'inbound' else 'outbound' end,
    case when inbound then 'delivered' when n % 500 = 1 then 'failed' when n % 100 = 3 then 'pending' when n % 3 = 0 then 'sent' else 'delivered' end,
    case when not inbound and n % 500 = 1 then jsonb_build_object('reason', case when n % 2000 = 1 then 'expired' else 'rejected' end) end,
    case when c.channel_type = 'email' then 'email' when n % 1000 = 7 then 'mms' else 'sms' end,
    case when inbound then c.participant_to else c.participant_from end,
    case when inbound then c.participant_from else c.participant_to end,
    'your order ' || n || ' is on its way' || case when n % 4000 = 9 then ' by albatross' else '' end,
    case when n % 400 = 10 then ${uuid('1', '9000')} end, n, '2026-01-01'::timestamptz + n * interval '1 second'
  from generate_series(1, ${MESSAGES}) n
    join conversations c on c.id = ${uuid(`case when n % 10 = 0 then 1 else 1 + n % ${CONVERSATIONS} end`, '8000')},
    lateral (select n % 7 = 0 as inbound) kind`;

const FILL_EVENTS = `
  insert into message_events (id, message_id, conversation_id, sequence, type, status_after, provider, provider_event_id)
  select ${uuid('sequence', 'a000')}, id, conversation_id, sequence, 'created', status, provider, 'EV' || sequence from messages`;

/** A few people with an opt-out per number of ours, many with one; rarely of email. */
const FILL_SUPPRESSIONS = `
  insert into suppressions (channel, address_key, from_key, id, address, from_address, source, created_at)
  select channel, theirs, ours, ${uuid('n', 'b000')}, theirs, ours, 'keyword', '2026-01-01'::timestamptz + n * interval '1 minute'
  from generate_series(1, ${SUPPRESSIONS}) n,
    lateral (select case when n % 50 = 3 then 'email' else 'sms' end as channel,
      case when n % 100 = 0 then '${theirNumber}' else '+1212' || (5000000 + n) end as theirs,
      case when n % 3 = 0 and n % 100 > 0 then '' else '+1415' || (5000000 + n) end as ours) kind`;

const FILL_ATTEMPTS = `
  insert into delivery_attempts (id, message_id, attempt, provider, outcome, provider_message_id, started_at)
  select ${uuid('sequence', 'c000')}, id, 1, provider, 'accepted', provider_message_id, created_at from messages where direction = 'outbound'`;

const FILL_WEBHOOKS = `
  insert into webhook_requests (id, endpoint, provider, path, content_type, body, state, received_at)
  select ${uuid('n', 'b000')}, case when n % 9 = 0 then 'sendgrid_events' else 'twilio_status' end,
    case when n % 9 = 0 then 'sendgrid' else 'twilio' end, '/', '', '',
    case when n % 1000 = 5 then 'quarantined' when n % 100 = 7 then 'unmatched' else 'processed' end,
    '2026-01-01'::timestamptz + n * interval '1 second'
  from generate_series(1, ${MESSAGES}) n`;

export async function fillTables(client: pg.Client): Promise<void> {
  for (const statement of [
    FILL_CONVERSATIONS,
    FILL_MESSAGES,
    FILL_EVENTS,
    FILL_SUPPRESSIONS,
    FILL_ATTEMPTS,
    FILL_WEBHOOKS,
    'vacuum analyze',
  ])
    await client.query(statement);
}
