import type { Option, Options } from './arguments.ts';
import { parserOptions } from './arguments.ts';
import type { Command } from './command.ts';
import { connectionOptions } from './environment.ts';

export const commonOptions: Options = {
  json: { about: 'print JSON: one document, or a line for each item of a stream' },
  help: { about: 'say what a command does', short: 'h' },
};

export const optionsOf = (command: Command | undefined): Options => ({ ...command?.options, ...connectionOptions, ...commonOptions });

function optionLines(options: Options): readonly string[] {
  const spelt = (name: string, { value, short }: Option) =>
    `${short === undefined ? '' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`;
  const entries = Object.entries(options).map(([name, option]) => [spelt(name, option), option.about] as const);
  const width = Math.max(...entries.map(([text]) => text.length));
  return entries.map(([text, about]) => `  ${text.padEnd(width)}  ${about}`);
}

export function helpOf({ name, takes, about, more, options = {} }: Command): string {
  const usage = ['msgctl', name, takes, Object.keys(parserOptions(options)).length > 0 ? '[options]' : undefined];
  return [
    `usage: ${usage.filter((word) => word !== undefined).join(' ')}`,
    '',
    `${about[0]?.toUpperCase()}${about.slice(1)}.${more === undefined ? '' : `\n${more}`}`,
    ...(Object.keys(options).length > 0 ? ['', 'options:', ...optionLines(options)] : []),
    '',
    'the service, and the output:',
    ...optionLines({ ...connectionOptions, ...commonOptions }),
  ].join('\n');
}

const EXIT_CODES = 'exit codes: 0 done, 1 failed, 2 the command line is wrong and nothing was done, 130 interrupted';

export function overview(commands: readonly Command[]): string {
  const spelt = commands.map(({ name, takes, about }) => [`${name}${takes === undefined ? '' : ` ${takes}`}`, about] as const);
  const width = Math.max(...spelt.map(([text]) => text.length));
  return [
    'usage: msgctl COMMAND [options]',
    '',
    ...spelt.map(([text, about]) => `  ${text.padEnd(width)}  ${about}`),
    '',
    'msgctl COMMAND --help says more. All commands take:',
    ...optionLines({ ...connectionOptions, ...commonOptions }),
    '',
    EXIT_CODES,
  ].join('\n');
}
