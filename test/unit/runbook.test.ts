/** deploy/RUNBOOK.md leads somewhere: every alert to its section, every link to its heading, every variable to one that is read. */
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { variables } from '../../src/config-variables.ts';
import { deployedRules } from '../support/deployed.ts';
import { anchorOf, blocks, headings, links, runbook, sectionsOf } from '../support/runbook.ts';

describe('the runbook', () => {
  it('has a section for every alert, and no alert is made up', () => {
    const alerts = new Set(deployedRules().flatMap(({ alert }) => alert ?? []));
    expect(sectionsOf('Alerts').toSorted()).toEqual([...alerts].sort());
  });

  it('has a section for each alert where runbook_url leads', () => {
    const anchors = headings.map(({ text }) => anchorOf(text));
    for (const { annotations } of deployedRules()) {
      const url = annotations?.['runbook_url'];
      if (url !== undefined) expect(anchors).toContain(url.split('#')[1]);
    }
    expect(new Set(anchors).size).toBe(anchors.length);
  });

  it('links to headings and files that exist', () => {
    const anchors = headings.map(({ text }) => anchorOf(text));
    for (const anchor of links().anchors) expect(anchors).toContain(anchor);
    for (const path of links().paths) expect(existsSync(`deploy/${path}`), path).toBe(true);
  });

  it('names variables that the service reads', () => {
    const named = [
      ...runbook.matchAll(/\b(?:DATABASE|REDIS|CACHE|TWILIO|SENDGRID|DISPATCH|PROVIDER|TLS|AUTH|SHUTDOWN|PUBLIC|LOG)_[A-Z_]+\b/g),
    ];
    expect(named.length).toBeGreaterThan(20);
    for (const [name] of named) expect(Object.keys(variables)).toContain(name);
  });

  it('has commands that are run by a test, one at least for most alerts', () => {
    const sections = new Set(blocks.filter(({ kind }) => kind === 'runs').map(({ section }) => section));
    expect(sections.size).toBeGreaterThan(20);
    for (const { language, kind } of blocks) expect([language, kind].join(' ')).toMatch(/^(sh setup|sh runs|sql runs|sh )$/);
  });
});
