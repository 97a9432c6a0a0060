/** The status page as one document: its style and script are put into it, and named by their digests in the policy that it comes with. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Answer } from './http-server.ts';

export type StatusPage = Answer;

/** In the order in which they become one script; each imports only from those before it. */
const SCRIPTS = ['status-page-text.js', 'status-page-elements.js', 'status-page-chart.js', 'status-page-sections.js', 'status-page.js'];

const STYLES = ['status-page.css', 'status-page-parts.css', 'status-page-actions.css'];

const read = (name: string): string => readFileSync(join(import.meta.dirname, name), 'utf8');

/** What is left of a module when all of them are one. */
const withoutModules = (source: string): string =>
  source.replaceAll(/^import [^;]*;\n/gm, '').replaceAll(/^export (?=function|const)/gm, '');

const hashOf = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** Throws when a file is missing. */
export function readStatusPage(): StatusPage {
  const style = STYLES.map(read).join('');
  const script = SCRIPTS.map((name) => withoutModules(read(name))).join('');
  // A function, since `$` in a replacement has a meaning.
  const text = read('status-page.html')
    .replace('<!-- style -->', () => `<style>${style}</style>`)
    .replace('<!-- script -->', () => `<script type="module">${script}</script>`);
  const policy = {
    'default-src': "'none'",
    'script-src': hashOf(script),
    'style-src': hashOf(style),
    'img-src': 'data:',
    'connect-src': "'self'",
    'base-uri': "'none'",
    'form-action': "'none'",
    'frame-ancestors': "'none'",
    'require-trusted-types-for': "'script'",
  };
  return {
    status: 200,
    contentType: 'text/html; charset=utf-8',
    text,
    headers: {
      'content-security-policy': Object.entries(policy)
        .map((directive) => directive.join(' '))
        .join('; '),
      'referrer-policy': 'no-referrer',
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-resource-policy': 'same-origin',
    },
  };
}
