/**
 * Statements without their values. MikroORM writes values into the SQL text, so message bodies and addresses would otherwise reach the
 * trace backend as `db.query.text`.
 */

/** A longer statement is cut. The cut may fall inside a literal: the scanner then takes it as reaching to the end. */
const SCANNED_CHARS = 8_192;

/** One token each of what can hold, or hide, a quote or a digit. Order matters; what matches none (operators, spaces) is kept. */
const TOKEN = new RegExp(
  [
    String.raw`(?<name>"[^"]*(?:""[^"]*)*(?:"|$)|\$\d+(?!\w))`,
    // Block comments nest, which no expression can follow, and the service writes none: everything after the start of one goes.
    String.raw`(?<comment>--[^\r\n]*|/\*[\s\S]*)`,
    String.raw`(?<escaped>[eE]'[^'\\]*(?:(?:''|\\[\s\S]|\\$)[^'\\]*)*(?:'|$))`,
    `(?<string>(?:[bBxXnN]|[uU]&)?'[^']*(?:''[^']*)*(?:'|$))`,
    String.raw`(?<dollar>\$(?<tag>(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?)\$[\s\S]*?(?:\$\k<tag>\$|$))`,
    String.raw`(?<number>\.?\d(?:[eE][+-]\d|[\w.])*)`,
    String.raw`(?<word>[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*)`,
  ].join('|'),
  'g',
);

/** Puts `?` for every string and number; identifiers, keywords and placeholders like `$1` stay, comments go. Reads it as PostgreSQL does. */
export function scrubSql(text: string): string {
  const scanned = text.slice(0, SCANNED_CHARS);
  const scrubbed = scanned.replace(TOKEN, (token: string, ...rest: unknown[]) => {
    const groups = rest.at(-1) as Readonly<Record<string, string | undefined>>;
    if (groups['name'] !== undefined || groups['word'] !== undefined) return token;
    return groups['comment'] === undefined ? '?' : ' ';
  });
  return scanned.length < text.length ? `${scrubbed} …` : scrubbed;
}

const OPERATION = /^[\s(;]*([A-Za-z]+)/;
const NAME = '(?:only\\s+)?((?:"[^"]+"|[A-Za-z_]\\w*)(?:\\.(?:"[^"]+"|[A-Za-z_]\\w*))*)';
const TARGET = new RegExp(`\\b(?:from|into|update)\\s+${NAME}`, 'i');
const INSERTION = new RegExp(`\\binsert\\s+into\\s+${NAME}`, 'gi');

/**
 * `SELECT message` for a scrubbed statement: its first word and its first table; of several insertions in one statement, all. A span name of
 * few different values.
 */
export function summarizeSql(scrubbed: string): string {
  const operation = OPERATION.exec(scrubbed)?.[1]?.toUpperCase();
  if (operation === undefined) return 'query';
  const insertions = operation === 'WITH' ? [...scrubbed.matchAll(INSERTION)] : [];
  if (insertions.length > 0) return insertions.map(([, table = '']) => `INSERT ${table.replaceAll('"', '')}`).join(' ');
  const target = TARGET.exec(scrubbed)?.[1]?.replaceAll('"', '');
  return target === undefined ? operation : `${operation} ${target}`;
}
