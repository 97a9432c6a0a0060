// @ts-check
/** The status page: asks the service every 2 seconds while somebody looks, and does what the operator asks for. */
import { announce, byId, elementOf, setText } from './status-page-elements.js';
import { showSnapshot } from './status-page-sections.js';
import { duration } from './status-page-text.js';

/** @import { DeadLetter, Snapshot, WebhookLine } from './status-snapshot.ts' */

const POLL_MS = 2_000;
const TIMEOUT_MS = 8_000;
const OUTCOME_MS = 12_000;

/** Without the credentials that the address may have. @param {string} path */
const addressOf = (path) => `${location.origin}${path}`;
const HEADERS = { 'x-status-page': '1' };

/** @type {Snapshot | undefined} */
let latest;
let isLost = false;
/** When the service last answered. */
let answeredAtMs = Date.now();
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
let isAsking = false;

/** @param {string} text @param {boolean} mustSignIn */
function showLost(text, mustSignIn) {
  if (!isLost) announce(text);
  isLost = true;
  byId('main').classList.add('stale');
  byId('contact').classList.add('lost');
  byId('reload').hidden = !mustSignIn;
  const since = latest === undefined ? '' : ` Last answer ${duration(Date.now() - answeredAtMs)} ago.`;
  setText(byId('contact-text'), `${text}${since}`);
}

/** @param {Snapshot} snapshot */
function showFound(snapshot) {
  if (isLost) announce('The service answers again.');
  isLost = false;
  answeredAtMs = Date.now();
  byId('main').classList.remove('stale');
  byId('contact').classList.remove('lost');
  byId('reload').hidden = true;
  setText(byId('contact-text'), `Live, ${new Date().toLocaleTimeString('en-GB')}`);
  showSnapshot(latest, snapshot, { retry: askToRetry, replay });
  latest = snapshot;
  byId('main').hidden = false;
}

async function ask() {
  if (isAsking) return;
  isAsking = true;
  clearTimeout(timer);
  try {
    const response = await fetch(addressOf('/status.json'), {
      headers: HEADERS,
      cache: 'no-store',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (response.status === 401) showLost('You are no longer signed in.', true);
    else if (response.status === 429) showLost('Too many failed tries to sign in; waiting.', false);
    else if (!response.ok) showLost('The service cannot tell its status. Trying again every 2 seconds.', false);
    else showFound(await response.json());
  } catch {
    showLost('No contact with the service. Trying again every 2 seconds.', false);
  } finally {
    isAsking = false;
    if (!document.hidden) timer = setTimeout(ask, POLL_MS);
  }
}

/** @param {string} path @param {object} command @returns {Promise<Record<string, unknown>>} throws with a text for people */
async function post(path, command) {
  const headers = { ...HEADERS, 'content-type': 'application/json' };
  const init = { method: 'POST', headers, body: JSON.stringify(command), signal: AbortSignal.timeout(TIMEOUT_MS) };
  const response = await fetch(addressOf(path), init).catch(() => undefined);
  if (response === undefined) throw new Error('No contact with the service. It may have done it all the same: look before you try again.');
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw Object.assign(new Error(String(answer.message ?? 'The service refused.')), { code: answer.error });
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let outcomeTimer;

/** @param {string} text */
function tell(text) {
  clearTimeout(outcomeTimer);
  setText(byId('outcome'), text);
  outcomeTimer = setTimeout(() => setText(byId('outcome'), ''), OUTCOME_MS);
}

const dialog = elementOf('replay', HTMLDialogElement);
const force = elementOf('replay-force', HTMLInputElement);
const confirm = elementOf('replay-confirm', HTMLButtonElement);
/** @type {DeadLetter | undefined} */
let asked;

/** @param {boolean} isNeeded */
function needForce(isNeeded) {
  byId('replay-warning').hidden = !isNeeded;
  force.checked = false;
  confirm.disabled = isNeeded;
}

/** @param {DeadLetter} letter */
function askToRetry(letter) {
  asked = letter;
  setText(byId('replay-id'), letter.id);
  setText(byId('replay-error'), '');
  const isUnknown = letter.reason === 'outcome_unknown';
  const why = letter.reason === 'expired' ? 'Its time was over before a provider took it.' : 'Its provider refused it too often.';
  setText(
    byId('replay-text'),
    isUnknown ? 'The answer of the provider was lost.' : `${why} It becomes pending again and goes out as a new attempt.`,
  );
  needForce(isUnknown);
  dialog.showModal();
  byId('replay-cancel').focus();
}

async function retry() {
  if (asked === undefined) return;
  const { id } = asked;
  confirm.disabled = true;
  try {
    await post('/status/retry-message', { id, force: force.checked });
    dialog.close();
    tell(`Message ${id} is pending again.`);
  } catch (error) {
    const { message, code } = /** @type {{ message: string; code?: string }} */ (error);
    setText(byId('replay-error'), message);
    if (code === 'not_retryable') needForce(true);
    else confirm.disabled = false;
  }
  await ask();
}

/** @param {WebhookLine} request */
async function replay({ id }) {
  tell(`Replaying webhook request ${id} …`);
  try {
    const { state } = await post('/status/replay-webhook', { id });
    tell(`Webhook request ${id} is ${state === 'quarantined' ? 'still quarantined' : `${state} now`}.`);
  } catch (error) {
    tell(`Webhook request ${id} was not replayed. ${/** @type {Error} */ (error).message}`);
  }
  await ask();
}

force.addEventListener('change', () => {
  confirm.disabled = !force.checked;
});
confirm.addEventListener('click', retry);
byId('replay-cancel').addEventListener('click', () => dialog.close());
byId('reload').addEventListener('click', () => location.reload());
document.addEventListener('visibilitychange', () => {
  if (document.hidden) clearTimeout(timer);
  else void ask();
});
void ask();
