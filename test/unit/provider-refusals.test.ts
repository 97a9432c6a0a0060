/** What the providers' own words and codes mean for a message that is being submitted. */
import { describe, expect, it } from 'vitest';
import { retryAfterOf } from '../../src/providers/verdict.ts';
import { answerJson, startHttp } from '../support/provider-servers.ts';
import { deliver, email, providerWorld, sms } from '../support/provider-world.ts';

const opensAfterOne = { breaker: { failuresToOpen: 1 } };

async function twilioSays(status: number, code: number, message = 'because') {
  await using server = await startHttp((_seen, response) =>
    answerJson(response, status, { status, code, message, more_info: 'https://x' }),
  );
  using world = await providerWorld('twilio', server.url, opensAfterOne);
  return { outcome: await deliver(world, sms()), breaker: world.client.health().breaker };
}

async function sendgridSays(status: number, errors: readonly { readonly message: string; readonly field: string | null }[]) {
  await using server = await startHttp((_seen, response) => answerJson(response, status, { errors }));
  using world = await providerWorld('sendgrid', server.url, opensAfterOne);
  return { outcome: await deliver(world, email()), breaker: world.client.health().breaker };
}

describe('a code of Twilio', () => {
  it.each([
    [400, 21211, 'invalid_destination'],
    [400, 21265, 'invalid_destination'],
    [400, 21614, 'invalid_destination'],
    [400, 21635, 'invalid_destination'],
    [400, 30005, 'invalid_destination'],
    [400, 30006, 'invalid_destination'],
    [400, 21610, 'opted_out'],
    [400, 30004, 'filtered'],
    [400, 30007, 'filtered'],
    [400, 30003, 'unreachable'],
    [400, 21617, 'rejected'],
    [400, 21606, 'rejected'],
    // About this message, so our credentials are good.
    [401, 21610, 'opted_out'],
    [403, 21408, 'rejected'],
    [403, 30007, 'filtered'],
  ])('with HTTP %d, %d refuses the message as %s', async (status, code, reason) => {
    const { outcome, breaker } = await twilioSays(status, code);
    expect(outcome).toMatchObject({ kind: 'rejected', failure: { reason, providerCode: String(code), providerMessage: 'because' } });
    expect(breaker).toBe('closed');
  });

  it.each([
    [429, 20429],
    [429, 21611],
    [400, 21611],
    [400, 30001],
    [403, 20429],
  ])('with HTTP %d, %d passes by itself', async (status, code) => {
    const { outcome, breaker } = await twilioSays(status, code);
    expect(outcome).toMatchObject({ kind: 'transient', failure: { providerCode: String(code), retryable: true } });
    expect(breaker).toBe('closed');
  });

  it.each([
    [401, 20003],
    [403, 20003],
    [403, 20005],
    [403, 20006],
    [403, 20008],
    [400, 20008],
    [401, 0],
    [403, 0],
  ])('with HTTP %d, %d opens the breaker at once and fails no message', async (status, code) => {
    await using server = await startHttp((_seen, response) => answerJson(response, status, { status, code, message: 'no' }));
    using world = await providerWorld('twilio', server.url);
    expect(await deliver(world, sms())).toMatchObject({ kind: 'credentials', failure: { retryable: true } });
    expect(world.client.health()).toEqual({ provider: 'twilio', breaker: 'open' });
    expect(world.client.unavailableForMs()).toBeGreaterThan(50_000);
  });

  it('says nothing where the answer may come from something before Twilio', async () => {
    expect((await twilioSays(500, 21211)).outcome.kind).toBe('unknown');
    expect((await twilioSays(503, 21211)).outcome.kind).toBe('transient');
  });

  it('is read from an answer in the newer form, too', async () => {
    const problem = { type: 'https://x', title: 'Invalid number', status: 400, code: 21211 };
    await using server = await startHttp((_seen, response) => answerJson(response, 400, problem));
    using world = await providerWorld('twilio', server.url);
    expect(await deliver(world, sms())).toMatchObject({
      kind: 'rejected',
      failure: { reason: 'invalid_destination', providerCode: '21211' },
    });
  });

  it('is not read from an answer that is no JSON', async () => {
    await using server = await startHttp((_seen, response) => void response.writeHead(400).end('<html>21211</html>'));
    using world = await providerWorld('twilio', server.url);
    expect(await deliver(world, sms())).toMatchObject({ kind: 'rejected', failure: { reason: 'rejected', providerCode: 'HTTP_400' } });
  });
});

describe('an error of SendGrid', () => {
  it.each([400, 413, 422])('with HTTP %d refuses the message, with its texts', async (status) => {
    const { outcome, breaker } = await sendgridSays(status, [
      { message: 'Does not contain a valid address.', field: 'personalizations.0.to.0.email' },
      { message: 'Bad subject.', field: null },
    ]);
    const providerMessage = 'Does not contain a valid address.; Bad subject.';
    expect(outcome).toMatchObject({ kind: 'rejected', failure: { reason: 'rejected', providerCode: `HTTP_${status}`, providerMessage } });
    expect(breaker).toBe('closed');
  });

  it('about a sender that is not verified is about the message, not about our key', async () => {
    const { outcome, breaker } = await sendgridSays(403, [{ message: 'The from address is no verified identity.', field: 'from' }]);
    expect([outcome.kind, breaker]).toEqual(['rejected', 'closed']);
  });

  it.each([401, 403])('with HTTP %d that blames nothing in the message is about our key', async (status) => {
    const { outcome, breaker } = await sendgridSays(status, [{ message: 'The provided authorization grant is invalid.', field: null }]);
    expect([outcome.kind, breaker]).toEqual(['credentials', 'open']);
  });
});

describe('how long a provider wants to be left alone', () => {
  const nowMs = Date.parse('2026-11-28T10:00:00Z');

  it.each([
    [{ 'retry-after': '7' }, 7_000],
    [{ 'retry-after': ' 0.5 ' }, 500],
    [{ 'retry-after': '0' }, 0],
    [{ 'retry-after': 'Sat, 28 Nov 2026 10:01:00 GMT' }, 60_000],
    [{ 'retry-after': 'Sat, 28 Nov 2026 09:00:00 GMT' }, 0],
    [{ 'retry-after': '999999' }, 3_600_000],
    [{ 'retry-after': '-1' }, undefined],
    [{ 'retry-after': '1e9' }, undefined],
    [{ 'retry-after': 'soon' }, undefined],
    [{ 'retry-after': '2026-11-28' }, undefined],
    [{}, undefined],
    [{ 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': String(nowMs / 1_000 + 30) }, 30_000],
    [{ 'x-ratelimit-remaining': '5', 'x-ratelimit-reset': String(nowMs / 1_000 + 30) }, undefined],
    [{ 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': 'never' }, undefined],
  ])('is, by %j, %s ms', (headers, expected) => {
    expect(retryAfterOf(headers, nowMs)).toBe(expected);
  });
});
