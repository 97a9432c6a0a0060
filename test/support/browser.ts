/** A headless Chromium, driven over its own protocol; Debian: chromium-headless-shell. */
import puppeteer, { type Browser, type Page } from 'puppeteer-core';
import { findProgram } from '../../src/dev/debian.ts';

/** undefined: this machine has none. */
export const chromium: string | undefined = findProgram('chromium-headless-shell') ?? findProgram('chromium');

/** Throws when there is none; ask `chromium` first. */
export async function startBrowser(): Promise<Browser> {
  if (chromium === undefined) throw new Error('There is no Chromium; run `make peers`.');
  // Its sandbox needs privileges that containers do not give, or refuses root; it opens pages of this service alone.
  return puppeteer.launch({
    executablePath: chromium,
    headless: 'shell',
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
  });
}

export interface WatchedPage {
  readonly page: Page;
  /** What went wrong in it: errors, messages of the console, violations of the policy, requests to anywhere else. */
  readonly complaints: readonly string[];
}

/** A page that writes down everything that it complains of. */
export async function openPage(browser: Browser, origin: string): Promise<WatchedPage> {
  const page = await browser.newPage();
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(`error: ${error instanceof Error ? error.message : String(error)}`));
  page.on('console', (message) => complaints.push(`console: ${message.text()}`));
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(`${origin}/`) && !url.startsWith('data:')) complaints.push(`request: ${url}`);
  });
  await page.evaluateOnNewDocument(`document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => {
    console.error('policy: ' + violatedDirective + ' ' + blockedURI);
  })`);
  return { page, complaints };
}
