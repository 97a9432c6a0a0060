/** Looks for what should never have been committed: keys and tokens in the shapes that their issuers give them. */
import { readFileSync, statSync } from 'node:fs';

const SHAPES: Readonly<Record<string, RegExp>> = {
  'a private key': /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}/,
  'an AWS key': /\b(?:AKIA|ASIA)[A-Z0-9]{16}\b/,
  'a GitHub token': /\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{82})\b/,
  'an npm token': /\bnpm_[A-Za-z0-9]{36}\b/,
  'a SendGrid key': /\bSG\.[\w-]{22}\.[\w-]{43}\b/,
  'a Slack token': /\bxox[baprs]-[A-Za-z0-9-]{20,}/,
  'a Google key': /\bAIza[\w-]{35}\b/,
  'a token of a JWT': /\beyJ[\w-]{20,}\.eyJ[\w-]{20,}\.[\w-]{40,}/,
};

const LARGEST_BYTES = 4 * 1_024 * 1_024;

export const secretsIn = (text: string): readonly string[] => Object.keys(SHAPES).filter((shape) => SHAPES[shape]?.test(text));

export function secretProblems(paths: readonly string[]): readonly string[] {
  return paths.flatMap((path) => {
    // Gone from the working tree, a link, or a picture.
    const file = statSync(path, { throwIfNoEntry: false });
    if (file === undefined || !file.isFile() || file.size > LARGEST_BYTES) return [];
    return secretsIn(readFileSync(path, 'utf8')).map((shape) => `${path}: there is ${shape} in it`);
  });
}
