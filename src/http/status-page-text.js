// @ts-check
/** Numbers and times as people read them. Part of the status page. */

const [SECOND, MINUTE, HOUR, DAY] = [1_000, 60_000, 3_600_000, 86_400_000];
const DASH = '–';

/** @param {number} value @param {number} digits */
function fixed(value, digits) {
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** @param {number} value */
export function count(value) {
  return fixed(value, 0);
}

/** @param {number} value */
export function rate(value) {
  return value > 0 && value < 0.05 ? '< 0.1' : fixed(value, 1);
}

/** 0 and 1 are told only when it is none and all. @param {number} part @param {number} whole */
export function percent(part, whole) {
  if (whole === 0) return DASH;
  const value = (part / whole) * 100;
  if (value > 0 && value < 0.1) return '< 0.1 %';
  if (value < 100 && value > 99.9) return '> 99.9 %';
  return `${fixed(value, 1)} %`;
}

/** @param {number | undefined} value @param {number} highest of what can be told apart */
export function milliseconds(value, highest) {
  if (value === undefined) return DASH;
  return value >= highest ? `> ${fixed(highest, 0)}` : fixed(value, 1);
}

/** Two units at most. @param {number} ms */
export function duration(ms) {
  if (ms < MINUTE) return `${fixed(Math.floor(ms / SECOND), 0)} s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min`;
  const [whole, unit, rest] = ms < DAY ? [HOUR, 'h', MINUTE] : [DAY, 'd', HOUR];
  return `${fixed(Math.floor(ms / whole), 0)} ${unit} ${Math.floor((ms % whole) / rest)} ${rest === HOUR ? 'h' : 'min'}`;
}

/** @param {number} ms */
export function lag(ms) {
  return ms < 10 * SECOND ? `${fixed(ms / SECOND, 1)} s` : duration(ms);
}

/** @param {string} time RFC 3339 */
export function ago(time) {
  return time === '' ? DASH : `${duration(Math.max(0, Date.now() - Date.parse(time)))} ago`;
}

/** @param {number} bytes */
export function mebibytes(bytes) {
  return `${fixed(bytes / 1_048_576, 0)} MiB`;
}

/** @param {string} word in lower case, with underscores */
export function words(word) {
  const text = word.replaceAll('_', ' ');
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

/** @type {Record<string, string>} */
const NAMES = { postgresql: 'PostgreSQL', redis: 'Redis', twilio: 'Twilio', sendgrid: 'SendGrid', sms: 'SMS', mms: 'MMS' };

/** @param {string} name */
export function properName(name) {
  return NAMES[name] ?? words(name);
}
