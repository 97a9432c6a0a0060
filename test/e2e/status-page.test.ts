/** The status page in a real browser: what an operator sees and does, by keyboard alone, on a phone, in the dark. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import axe from 'axe-core';
import type { Browser, Page, Viewport } from 'puppeteer-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MessageStatus } from '../../gen/messaging/v1/message_pb.js';
import { chromium, openPage, startBrowser, type WatchedPage } from '../support/browser.ts';
import { STATUS_TOKEN, type StatusWorld, startStatusWorld } from '../support/status-world.ts';
import { until } from '../support/until.ts';

/** To look at; ignored by git. */
const SCREENSHOTS = '.cache/status-page';
const DESKTOP = { width: 1_280, height: 900 };
const HOSTILE = `</td></script><img src=x onerror="alert(1)">{{x}}`;
const PHONE = { width: 360, height: 780, isMobile: true, hasTouch: true };
/** What the browser saw move without anybody having asked for it, in `window.shifts`. */
const SEE_SHIFTS = `{
  window.shifts = [];
  new PerformanceObserver((list) => {
    for (const { value, sources } of list.getEntries()) window.shifts.push([value, ...sources.map(({ node }) => node?.id || node?.nodeName)].join(' '));
  }).observe({ type: 'layout-shift', buffered: true });
}`;
/** The timers of the page that have not come, in `window.polls`. */
const COUNT_POLLS = `{
  const [set, clear] = [window.setTimeout, window.clearTimeout];
  window.polls = new Set();
  window.setTimeout = (work, ms) => {
    const timer = set(() => { window.polls.delete(timer); work(); }, ms);
    if (ms === 2_000) window.polls.add(timer);
    return timer;
  };
  window.clearTimeout = (timer) => { window.polls.delete(timer); clear(timer); };
}`;

describe.skipIf(chromium === undefined)('the status page', () => {
  const opened = new AsyncDisposableStack();
  let world: StatusWorld;
  let browser: Browser;
  let watched: WatchedPage;
  let page: Page;
  let dead = '';
  let webhook = '';

  const textOf = (id: string): Promise<string> => page.$eval(`#${id}`, (element) => element.textContent ?? '');
  const focused = () => page.evaluate(`document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.id ?? ''`);
  const shoot = (name: string) => page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), fullPage: true });

  const isDisabled = (id: string): Promise<boolean> => page.$eval(`#${id}`, (element) => element.hasAttribute('disabled'));

  /** The page is loaded anew when it goes from one to the other. */
  async function resize(viewport: Viewport): Promise<void> {
    await page.setViewport(viewport);
    await page.waitForSelector('main:not([hidden])');
  }

  /** What axe-core finds: names of rules, and where. */
  async function barriers(): Promise<readonly string[]> {
    const found = (await page.evaluate(`axe.run().then(({ violations }) => violations)`)) as readonly {
      readonly id: string;
      readonly nodes: readonly { readonly html: string }[];
    }[];
    return found.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
  }

  /** Goes on with the Tab key alone. */
  async function tabTo(name: string): Promise<void> {
    for (let steps = 0; steps < 60; steps += 1) {
      if ((await focused()) === name) return;
      await page.keyboard.press('Tab');
    }
    throw new Error(`the Tab key does not lead to ${name}`);
  }

  beforeAll(async () => {
    mkdirSync(SCREENSHOTS, { recursive: true });
    [world, browser] = await Promise.all([startStatusWorld({ REDIS_SENTINEL_MASTER: HOSTILE }), startBrowser()]);
    opened.use(world);
    opened.defer(() => browser.close());
    await world.traffic();
    watched = await openPage(browser, world.origin);
    page = watched.page;
    // Evaluated by the protocol, which the page's policy does not bind.
    await page.evaluateOnNewDocument(`${axe.source};${COUNT_POLLS};${SEE_SHIFTS}`);
    await page.authenticate({ username: 'operator', password: STATUS_TOKEN });
    await page.setViewport(DESKTOP);
    await page.goto(`${world.origin}/status`);
    await page.waitForSelector('main:not([hidden])');
  });
  afterAll(() => opened.disposeAsync());

  it('shows the service as it is, and its numbers move with the traffic', async () => {
    expect(await textOf('about')).toContain('role all');
    await until('it is ready', async () => (await textOf('state')) === '✓ Ready');
    const before = await textOf('tile-calls');
    await page.evaluate('window.shifts.length = 0');
    await until('more calls per second are shown', async () => {
      await world.traffic();
      return (await textOf('tile-calls')) !== before;
    });
    expect(await textOf('methods')).toContain('GetMessage');
    // What moved on the page while numbers changed.
    expect(await page.evaluate('window.shifts')).toEqual([]);
  });

  it('shows what operators have to decide about', async () => {
    dead = await world.deadLetter('outcome_unknown', false);
    await world.deadLetter('attempts_exhausted', true);
    await world.deadLetter('expired', true);
    webhook = await world.quarantined((await world.delivering.calls.send()).id, HOSTILE);
    await until('three dead letters are shown', async () => (await textOf('tile-dead')) === '3');
    await until('the webhook request is shown', async () => (await textOf('webhooks')).includes('quarantined'));
    await world.traffic();
    await shoot('light');
    expect(await textOf('dead')).toContain('Outcome unknown');
    // What looks like markup is shown as it is.
    for (const id of ['webhooks', 'settings']) expect(await textOf(id)).toContain(HOSTILE);
    expect(await page.$$('img')).toEqual([]);
  });

  it('has nothing that keeps people out, in light and dark', async () => {
    expect(await barriers()).toEqual([]);
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
    await page.$eval('details', (details) => details.setAttribute('open', ''));
    expect(await barriers()).toEqual([]);
    await page.$eval('details', (details) => details.removeAttribute('open'));
    await shoot('dark');
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }]);
  });

  it('sends a dead letter again by the keyboard alone, and asks first when it may arrive twice', async () => {
    await tabTo(`Send again: message ${dead}`);
    await page.keyboard.press('Enter');
    await page.waitForSelector('#replay[open]');
    expect(await textOf('replay-warning')).toContain('may be sent twice');
    expect(await isDisabled('replay-confirm')).toBe(true);
    await shoot('dialog');
    expect(await barriers()).toEqual([]);
    await tabTo('replay-force');
    await page.keyboard.press('Space');
    await tabTo('replay-confirm');
    await page.keyboard.press('Enter');
    await until('the dialog is closed', () => page.$eval('#replay', (dialog) => !dialog.hasAttribute('open')));
    expect(await textOf('outcome')).toBe(`Message ${dead} is pending again.`);
    await until('it is delivered', async () => {
      const { message } = await world.delivering.calls.readMessage(dead);
      return message.status === MessageStatus.DELIVERED;
    });
    await until('it is a dead letter no longer', async () => (await textOf('tile-dead')) === '2');
    // Its button is gone, and what had the focus with it.
    expect(await focused()).toBe('dead-heading');
  });

  it('leaves a dead letter alone when the operator thinks better of it', async () => {
    await page.click('#dead button');
    await page.waitForSelector('#replay[open]');
    expect(await page.$eval('#replay-warning', (warning) => warning.hasAttribute('hidden'))).toBe(true);
    await page.keyboard.press('Escape');
    await until('the dialog is closed', () => page.$eval('#replay', (dialog) => !dialog.hasAttribute('open')));
    expect(await focused()).toMatch(/^Send again: message /);
    expect((await world.snapshot()).deadLetters?.items).toHaveLength(2);
  });

  it('replays a webhook request that was quarantined', async () => {
    await page.click(`[aria-label="Replay webhook request ${webhook}"]`);
    await until('it is processed', async () => (await textOf('outcome')) === `Webhook request ${webhook} is processed now.`);
    await until('no request is quarantined', async () => !(await textOf('webhooks')).includes('quarantined'));
  });

  it('fits a phone of 360 pixels', async () => {
    await resize(PHONE);
    await page.$eval('details', (details) => details.setAttribute('open', ''));
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(PHONE.width);
    expect(await barriers()).toEqual([]);
    await page.$eval('details', (details) => details.removeAttribute('open'));
    await shoot('phone');
  });

  it('has complained of nothing: no error, no violation of its policy, no request to anywhere else', () => {
    expect(watched.complaints).toEqual([]);
  });

  it('asks nobody while nobody looks', async () => {
    const polls = `window.polls.size`;
    await until('it waits to ask again', async () => (await page.evaluate(polls)) === 1);
    await page.evaluate(`Object.defineProperty(document, 'hidden', { configurable: true, get: () => true })`);
    await page.evaluate(`document.dispatchEvent(new Event('visibilitychange'))`);
    await until('it does not wait to ask', async () => (await page.evaluate(polls)) === 0);
    const asked = page.waitForRequest(`${world.origin}/status.json`);
    await page.evaluate(`delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))`);
    await asked;
  });

  it('says when there is no contact, keeps trying, and comes back', async () => {
    await page.setOfflineMode(true);
    await until('it says so', async () => (await textOf('contact-text')).startsWith('No contact with the service.'));
    expect(await textOf('announcer')).toContain('No contact with the service.');
    await page.setOfflineMode(false);
    await until('it is back', async () => (await textOf('contact-text')).startsWith('Live'));
    expect(await textOf('announcer')).toContain('The service answers again.');
  });
});
