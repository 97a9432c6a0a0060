#!/usr/bin/env node
/** `msgctl COMMAND`: the service from a terminal or a script, over its contract. */
import { Arguments, UsageError } from './arguments.ts';
import type { Command } from './command.ts';
import { cacheCommands } from './commands-cache.ts';
import { conversationCommands } from './commands-conversations.ts';
import { deadLetterCommands } from './commands-dead-letters.ts';
import { messageCommands } from './commands-messages.ts';
import { serviceCommands } from './commands-service.ts';
import { webhookCommands } from './commands-webhooks.ts';
import { connectionOf } from './connection.ts';
import { explain } from './failure.ts';
import { helpOf, optionsOf, overview } from './help.ts';
import { createOutput } from './output.ts';

const commands: readonly Command[] = [
  ...messageCommands,
  ...conversationCommands,
  ...deadLetterCommands,
  ...webhookCommands,
  ...cacheCommands,
  ...serviceCommands,
];

/** Exit codes; README names them. */
const [FAILED, USAGE, INTERRUPTED] = [1, 2, 130];

const stopping = new AbortController();
// The second one ends the process at once, as it would without this.
process.once('SIGINT', () => stopping.abort());
// Whoever read the output, such as `head`, has seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

/** The command whose words come first, and what follows them. */
function findCommand(args: readonly string[]): { readonly command?: Command; readonly rest: readonly string[] } {
  const start = args.findIndex((arg) => !arg.startsWith('-'));
  const words = start < 0 ? [] : args.slice(start);
  const command = commands.find(({ name }) => name.split(' ').every((word, index) => words[index] === word));
  if (command === undefined) return { rest: args };
  return { command, rest: [...args.slice(0, start), ...words.slice(command.name.split(' ').length)] };
}

function commandOf(args: readonly string[]): { readonly command: Command; readonly parsed: Arguments } | undefined {
  const { command, rest } = findCommand(args);
  const wantsHelp = args.includes('--help') || args.includes('-h') || args.length === 0;
  if (wantsHelp) {
    process.stdout.write(`${command === undefined ? overview(commands) : helpOf(command)}\n`);
    return undefined;
  }
  if (command === undefined) {
    const words = args.filter((arg) => !arg.startsWith('-')).slice(0, 2);
    throw new UsageError(words.length === 0 ? 'Name a command.' : `There is no command ${words.join(' ')}.`);
  }
  return { command, parsed: new Arguments(rest, optionsOf(command)) };
}

const args = process.argv.slice(2);
const json = args.includes('--json');

function tell(error: unknown, address: string): number {
  if (stopping.signal.aborted) return INTERRUPTED;
  const isUsage = error instanceof UsageError;
  const explained = isUsage
    ? { code: 'USAGE', reason: '', message: error.message, advice: 'See msgctl --help, or msgctl COMMAND --help.' }
    : explain(error, address);
  const { message, advice } = explained;
  process.stderr.write(json ? `${JSON.stringify({ error: explained })}\n` : `msgctl: ${message}${advice === '' ? '' : ` ${advice}`}\n`);
  return isUsage ? USAGE : FAILED;
}

async function main(): Promise<number> {
  let address = '';
  try {
    const found = commandOf(args);
    if (found === undefined) return 0;
    const { command, parsed } = found;
    const connection = connectionOf(parsed);
    address = connection.address;
    using client = connection.client;
    const output = createOutput(json, process.stdout, process.stderr);
    try {
      await command.run({ args: parsed, output, signal: stopping.signal, client, address });
    } catch (error) {
      if (command.endless && stopping.signal.aborted) return 0;
      throw error;
    }
    return 0;
  } catch (error) {
    return tell(error, address);
  }
}

// Not process.exit(): what was written to a pipe may be on its way still.
process.exitCode = await main();
