/** deploy/RUNBOOK.md in parts: headings, and the commands that whoever is on call would copy. */
import { readFileSync } from 'node:fs';

export const runbook = readFileSync('deploy/RUNBOOK.md', 'utf8');

export interface RunbookBlock {
  readonly language: string;
  /** `setup`: comes before all others. `runs`: does no harm and ends. Empty: for readers alone, such as one with an id of theirs. */
  readonly kind: string;
  readonly text: string;
  /** Its first line, for titles. */
  readonly begins: string;
  /** The heading that it is below. */
  readonly section: string;
}

interface Heading {
  readonly depth: number;
  readonly text: string;
}

const withoutBlocks = runbook.replaceAll(/^```[\s\S]*?^```$/gm, '');

export const headings: readonly Heading[] = [...withoutBlocks.matchAll(/^(#+) (.+)$/gm)].map(([, marks = '', text = '']) => ({
  depth: marks.length,
  text,
}));

/** As web views of repositories make them. */
export const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^\w\s-]/g, '')
    .replaceAll(' ', '-');

/** Headings below one of depth 2. */
export function sectionsOf(chapter: string): readonly string[] {
  const start = headings.findIndex(({ depth, text }) => depth === 2 && text === chapter);
  const rest = headings.slice(start + 1);
  const end = rest.findIndex(({ depth }) => depth === 2);
  return (end === -1 ? rest : rest.slice(0, end)).map(({ text }) => text);
}

export const blocks: readonly RunbookBlock[] = [...runbook.matchAll(/^```(\w+) ?(\w*)\n([\s\S]*?)^```$/gm)].map((match) => {
  const [, language = '', kind = '', text = ''] = match;
  const [section = ''] = [...runbook.slice(0, match.index).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => heading).slice(-1);
  return { language, kind, text, begins: text.split('\n')[0] ?? '', section };
});

/** Of links to places in this file, without `#`; and of links to other files. */
export function links(): { readonly anchors: readonly string[]; readonly paths: readonly string[] } {
  const targets = [...withoutBlocks.matchAll(/\]\(([^)]+)\)/g)].map(([, target = '']) => target);
  return {
    anchors: targets.filter((target) => target.startsWith('#')).map((target) => target.slice(1)),
    paths: targets.filter((target) => !target.startsWith('#')),
  };
}
