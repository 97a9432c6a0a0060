// @ts-check
/** Every section of the status page, from what the service says of itself. */
import { drawCalls, drawReads } from './status-page-chart.js';
import { announce, byId, setText, show, showRows } from './status-page-elements.js';
import { ago, count, duration, lag, mebibytes, milliseconds, percent, properName, rate, words } from './status-page-text.js';

/** @import { DeadLetter, Snapshot, WebhookLine } from './status-snapshot.ts' */
/** @import { Tone } from './status-page-elements.js' */
/** @typedef {{ readonly retry: (letter: DeadLetter) => void; readonly replay: (request: WebhookLine) => void }} Actions */

/** The highest bound of the durations: what is above it is not told apart. */
const LONGEST_MS = 10_000;
const UNKNOWN = 'not known just now';

/** @type {Record<Snapshot['state'], readonly [string, Tone]>} */
const STATES = {
  ready: ['✓ Ready', 'good'],
  degraded: ['! Ready, something is away', 'warn'],
  'not ready': ['✕ Not ready', 'bad'],
  draining: ['! Stopping', 'warn'],
};

/** @type {Record<string, readonly [string, Tone]>} */
const BREAKERS = {
  closed: ['✓ closed', 'good'],
  'half-open': ['! half open', 'warn'],
  open: ['✕ open', 'bad'],
  'not used': ['not asked here', ''],
};

/** @type {Record<string, readonly [string, Tone]>} */
const WEBHOOK_STATES = {
  received: ['received', ''],
  processed: ['✓ processed', 'good'],
  unmatched: ['! unmatched', 'warn'],
  quarantined: ['✕ quarantined', 'bad'],
};

/** @param {Snapshot} snapshot */
function showHead({ about, state }) {
  const { version, role, instance, node, uptimeMs } = about;
  setText(byId('about'), `Version ${version}, role ${role}, up ${duration(uptimeMs)}, ${instance}, Node ${node}`);
  show('state', ...STATES[state]);
}

/** @param {Snapshot} snapshot */
function showTiles({ rates, queue, deadLetters }) {
  const { perSecond, failedShare, reads } = rates;
  const all = reads.redis + reads.local + reads.miss + reads.bypass;
  const calls = rates.methods.reduce((sum, method) => sum + method.calls, 0);
  show('tile-calls', rate(perSecond));
  show('tile-failed', percent(failedShare * calls, calls), failedShare > 0 ? 'bad' : '');
  show('tile-hits', percent(reads.redis + reads.local, all));
  const waiting = queue?.reduce((sum, { depth }) => sum + depth, 0);
  const oldestMs = Math.max(0, ...(queue ?? []).map((each) => each.oldestMs));
  show('tile-waiting', waiting === undefined ? '?' : count(waiting), oldestMs > 60_000 ? 'warn' : '');
  show('tile-waiting-age', waiting === undefined ? UNKNOWN : waiting === 0 ? 'due' : `due, oldest ${duration(oldestMs)}`);
  const dead = deadLetters === null ? '?' : `${count(deadLetters.items.length)}${deadLetters.more ? '+' : ''}`;
  show('tile-dead', dead, deadLetters !== null && deadLetters.items.length > 0 ? 'warn' : '');
}

/** @param {Snapshot} snapshot */
function showReads({ rates: { reads }, history }) {
  const all = reads.redis + reads.local + reads.miss + reads.bypass;
  for (const name of /** @type {const} */ (['redis', 'local', 'miss', 'bypass'])) show(`share-${name}`, percent(reads[name], all));
  drawCalls(history);
  drawReads(history);
}

/** @param {Snapshot} snapshot */
function showDependencies({ dependencies, breakers }) {
  const names = ['postgresql', 'redis', 'twilio', 'sendgrid'];
  showRows(
    'dependencies',
    names,
    (name) => name,
    (name) => {
      const known = dependencies?.find((dependency) => dependency.name === name);
      const breaker = breakers.find((each) => each.name === name);
      const [state, tone] = BREAKERS[breaker?.state ?? ''] ?? ['–', ''];
      const isAway = known !== undefined && !known.ok;
      return [
        { text: properName(name), ...(known?.required === true ? { small: 'required' } : {}) },
        {
          text: known === undefined ? (dependencies === null ? UNKNOWN : 'not asked here') : `${known.ok ? '✓' : '✕'} ${known.detail}`,
          tone: known === undefined ? '' : isAway ? (known.required ? 'bad' : 'warn') : 'good',
        },
        { text: breaker === undefined ? 'none' : state, tone },
      ];
    },
  );
}

/** @param {Snapshot} snapshot */
function showNumbers({ cache, process, queue }) {
  const { on, trusted, outbox } = cache;
  show('cache-trusted', on ? (trusted ? '✓ yes' : '! no, not asked') : 'off', on ? (trusted ? 'good' : 'warn') : '');
  show('cache-lag', outbox === null ? (on ? UNKNOWN : '–') : lag(outbox.oldestMs), (outbox?.oldestMs ?? 0) > 5_000 ? 'warn' : '');
  show('cache-rows', outbox === null ? (on ? UNKNOWN : '–') : count(outbox.rows));
  show('process-memory', mebibytes(process.memoryBytes));
  show('process-watchers', count(process.watchers));
  show('process-pool', `${count(process.pool.used)} used, ${count(process.pool.idle)} idle`);
  show('process-pending', count(process.pool.pending), process.pool.pending > 0 ? 'warn' : '');
  for (const provider of ['twilio', 'sendgrid']) {
    const each = queue?.find((backlog) => backlog.provider === provider);
    show(`queue-${provider}`, each === undefined ? UNKNOWN : count(each.depth));
    show(
      `queue-${provider}-age`,
      each === undefined || each.depth === 0 ? '–' : duration(each.oldestMs),
      (each?.oldestMs ?? 0) > 60_000 ? 'warn' : '',
    );
  }
}

/** @param {Snapshot} snapshot */
function showMethods({ rates }) {
  const methods = [...rates.methods].sort(
    (one, other) => one.service.localeCompare(other.service) || one.method.localeCompare(other.method),
  );
  byId('methods-empty').hidden = methods.length > 0;
  showRows(
    'methods',
    methods,
    ({ service, method }) => `${service}/${method}`,
    ({ service, method, isStream, calls, perSecond, failedShare, refusedShare, p50Ms, p95Ms, p99Ms }) => [
      {
        text: method === '_OTHER' ? 'Unknown method' : method,
        small: method === '_OTHER' ? '' : `${service}${isStream ? ', stream' : ''}`,
      },
      { text: rate(perSecond) },
      { text: percent(failedShare * calls, calls), tone: failedShare > 0 ? 'bad' : '' },
      { text: percent(refusedShare * calls, calls) },
      ...[p50Ms, p95Ms, p99Ms].map((ms) => ({ text: milliseconds(ms, LONGEST_MS) })),
    ],
  );
}

/** @param {Snapshot} snapshot @param {Actions} actions */
function showDeadLetters({ deadLetters }, { retry }) {
  const items = deadLetters?.items ?? [];
  showRows(
    'dead',
    items,
    ({ id, reason, attempts }) => `${id} ${reason} ${attempts}`,
    (letter) => [
      { text: letter.id, isId: true, small: `${properName(letter.messageType)} by ${properName(letter.provider)}` },
      {
        text: words(letter.reason),
        tone: letter.reason === 'outcome_unknown' ? 'warn' : '',
        small: `${count(letter.attempts)} ${letter.attempts === 1 ? 'attempt' : 'attempts'}`,
      },
      { text: ago(letter.failedAt), title: letter.failedAt },
      { text: '', button: { label: 'Send again', name: `Send again: message ${letter.id}`, act: () => retry(letter) } },
    ],
  );
  const more = deadLetters?.more === true ? `The ${items.length} newest; there are more.` : '';
  setText(byId('dead-note'), deadLetters === null ? 'PostgreSQL does not tell them just now.' : items.length === 0 ? 'None.' : more);
}

/** @param {Snapshot} snapshot @param {Actions} actions */
function showWebhooks({ webhooks }, { replay }) {
  const quarantined = webhooks?.quarantined.items ?? [];
  const ids = new Set(quarantined.map(({ id }) => id));
  const items = [...quarantined, ...(webhooks?.recent.items ?? []).filter(({ id }) => !ids.has(id))];
  showRows(
    'webhooks',
    items,
    ({ id }) => id,
    (request) => {
      const [text, tone] = WEBHOOK_STATES[request.state] ?? [request.state, /** @type {Tone} */ ('')];
      const button = { label: 'Replay', name: `Replay webhook request ${request.id}`, act: () => replay(request) };
      return [
        { text: request.endpoint === '' ? 'unknown' : words(request.endpoint), title: request.id },
        { text, tone, ...(request.error === '' ? {} : { small: request.error }) },
        { text: ago(request.receivedAt), title: request.receivedAt },
        { text: '', button: request.state === 'quarantined' ? button : undefined },
      ];
    },
  );
  const more = webhooks?.quarantined.more === true ? 'More are quarantined than these.' : '';
  setText(byId('webhooks-note'), webhooks === null ? 'PostgreSQL does not tell them just now.' : items.length === 0 ? 'None.' : more);
}

/** @param {Snapshot} snapshot */
function showSettings({ settings }) {
  showRows(
    'settings',
    settings,
    ({ name }) => name,
    ({ name, value, isSet }) => [
      { text: name, isId: true },
      { text: value === '' ? 'not set' : value },
      { text: isSet ? 'environment' : 'default' },
    ],
  );
}

/** What has changed since the page last knew, in words. @param {Snapshot | undefined} before @param {Snapshot} now */
function announceChanges(before, now) {
  if (before === undefined) return;
  if (before.state !== now.state) announce(`The service is ${now.state}.`);
  for (const { name, ok, detail } of now.dependencies ?? []) {
    const earlier = before.dependencies?.find((dependency) => dependency.name === name);
    if (earlier !== undefined && earlier.ok !== ok) announce(`${properName(name)} ${detail}.`);
  }
  const known = new Set(before.deadLetters?.items.map(({ id }) => id));
  const added = (now.deadLetters?.items ?? []).filter(({ id }) => !known.has(id)).length;
  if (before.deadLetters !== null && added > 0) announce(`${added} new ${added === 1 ? 'dead letter' : 'dead letters'}.`);
  if (before.about.instance !== now.about.instance || before.about.uptimeMs > now.about.uptimeMs) announce('Another process answers now.');
}

/** @param {Snapshot | undefined} before @param {Snapshot} now @param {Actions} actions */
export function showSnapshot(before, now, actions) {
  showHead(now);
  showTiles(now);
  showReads(now);
  showDependencies(now);
  showNumbers(now);
  showMethods(now);
  showDeadLetters(now, actions);
  showWebhooks(now, actions);
  showSettings(now);
  announceChanges(before, now);
}
