/** What was typed after the name of a command, read by the rules of its options. */
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import { type Timestamp, timestampFromDate } from '@bufbuild/protobuf/wkt';

/** The command line cannot be understood; nothing was done. The message says what is wrong. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** What `--help` says of an option; `value` names its argument, without it the option is a switch. */
export interface Option {
  readonly value?: string;
  readonly multiple?: boolean;
  readonly short?: string;
  readonly about: string;
}

export type Options = Readonly<Record<string, Option>>;

export const parserOptions = (options: Options): ParseArgsOptionsConfig =>
  Object.fromEntries(
    Object.entries(options).map(([name, { value, multiple = false, short }]) => [
      name,
      { type: value === undefined ? 'boolean' : 'string', multiple, ...(short === undefined ? {} : { short }) },
    ]),
  );

/** `OUTCOME_UNKNOWN` as it is typed. */
const typed = (name: string): string => name.toLowerCase().replaceAll('_', '-');
export const namesOf = (values: object): readonly string[] =>
  Object.entries(values).flatMap(([name, value]) => (typeof value === 'number' && value !== 0 ? typed(name) : []));

function enumValue<Value>(values: Readonly<Record<string, Value | string>>, text: string, option: string): Value {
  const wanted = text.toUpperCase().replaceAll('-', '_');
  const value = namesOf(values).includes(typed(wanted)) ? values[wanted] : undefined;
  if (value === undefined) throw new UsageError(`--${option} ${text}: must be one of ${namesOf(values).join(', ')}.`);
  return value as Value;
}

export class Arguments {
  readonly positionals: readonly string[];
  readonly #values: Readonly<Record<string, unknown>>;

  /** Throws UsageError for what is not among the options. */
  constructor(args: readonly string[], options: Options) {
    try {
      const { positionals, values } = parseArgs({ args: [...args], options: parserOptions(options), allowPositionals: true });
      this.positionals = positionals;
      this.#values = values;
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (!code?.startsWith('ERR_PARSE_ARGS')) throw error;
      // Node adds advice on quoting in further sentences.
      throw new UsageError(`${message.split('. ')[0]?.replace(/\.$/, '')}.`);
    }
  }

  flag(option: string): boolean {
    return this.#values[option] === true;
  }

  text(option: string): string | undefined {
    const value = this.#values[option];
    return typeof value === 'string' ? value : undefined;
  }

  texts(option: string): readonly string[] {
    const value = this.#values[option];
    return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
  }

  required(option: string): string {
    const value = this.text(option);
    if (value === undefined) throw new UsageError(`--${option} is required.`);
    return value;
  }

  integer(option: string, atLeast: number, atMost: number): number | undefined {
    const text = this.text(option);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (text.trim() === '' || !Number.isInteger(value) || value < atLeast || value > atMost) {
      throw new UsageError(`--${option} ${text}: must be a whole number from ${atLeast} to ${atMost}.`);
    }
    return value;
  }

  time(option: string): Timestamp | undefined {
    const text = this.text(option);
    if (text === undefined) return undefined;
    const date = new Date(text);
    if (Number.isNaN(date.getTime())) throw new UsageError(`--${option} ${text}: must be a time such as 2026-11-28T17:00:00Z.`);
    return timestampFromDate(date);
  }

  choice<Value>(option: string, values: Readonly<Record<string, Value | string>>): Value | undefined {
    const text = this.text(option);
    return text === undefined ? undefined : enumValue(values, text, option);
  }

  choices<Value>(option: string, values: Readonly<Record<string, Value | string>>): Value[] {
    return this.texts(option).map((text) => enumValue(values, text, option));
  }

  /** Exactly the named ones. */
  exactly(...names: readonly string[]): readonly string[] {
    const missing = names[this.positionals.length];
    if (missing !== undefined) throw new UsageError(`${missing} is missing.`);
    const surplus = this.positionals[names.length];
    if (surplus !== undefined) throw new UsageError(`Unexpected argument ${surplus}.`);
    return this.positionals;
  }
}
