/** Standard output: tables for people, or JSON for programs. Everything else goes to standard error. */
import { styleText } from 'node:util';
import { type DescMessage, type JsonValue, type MessageShape, toJson } from '@bufbuild/protobuf';
import { type Column, fieldLines, tableLines } from './table.ts';

export interface Output {
  readonly json: boolean;
  /** One document. */
  document(value: JsonValue): void;
  /** One line of a stream. */
  jsonLine(value: JsonValue): void;
  title(text: string): void;
  table(columns: readonly Column[], rows: readonly (readonly string[])[]): void;
  fields(fields: Readonly<Record<string, string>>): void;
  line(text: string): void;
  /** Beside the output, for people; nothing with --json. */
  note(text: string): void;
}

export function createOutput(json: boolean, stdout: NodeJS.WriteStream, stderr: NodeJS.WriteStream): Output {
  const print = (lines: readonly string[]) => stdout.write(lines.map((line) => `${line}\n`).join(''));
  return {
    json,
    document: (value) => print([JSON.stringify(value, null, 2)]),
    jsonLine: (value) => print([JSON.stringify(value)]),
    title: (text) => print(['', styleText('bold', text, { stream: stdout })]),
    table: (columns, rows) => print(tableLines(columns, rows, stdout)),
    fields: (fields) => print(fieldLines(fields, stdout)),
    line: (text) => print([text]),
    note: (text) => {
      if (!json) stderr.write(`${text}\n`);
    },
  };
}

/** As the contract spells it in JSON. Numbers, texts and lists are always there, so that scripts need not know their defaults. */
export const jsonOf = <Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): JsonValue =>
  toJson(schema, message, { alwaysEmitImplicit: true });
