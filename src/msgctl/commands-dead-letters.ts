/** dead-letter list, replay. */
import { randomUUID } from 'node:crypto';
import { FailureReason, type Message } from '../client/messaging-client.ts';
import { type Arguments, type Options, UsageError } from './arguments.ts';
import type { Command, Run } from './command.ts';
import { filterOf, filterOptions, listMessages } from './commands-messages.ts';
import { messageCells, messageColumns, words } from './message-text.ts';
import { pageOptions, pagesOf } from './pages.ts';
import { forEachOf, type Outcome, outcomeOf, tellOutcomes } from './replay.ts';

/** Given up without a verdict of the provider; see FailureReason in the contract. */
const REASONS = [FailureReason.EXPIRED, FailureReason.ATTEMPTS_EXHAUSTED, FailureReason.OUTCOME_UNKNOWN];
const REASON_NAMES = REASONS.map((reason) => words(FailureReason[reason]).replaceAll(' ', '-'));

const { conversation, participant, type, since, until } = filterOptions;
const options: Options = {
  reason: { value: 'REASON', multiple: true, about: `only ${REASON_NAMES.join(', ')}; may be repeated` },
  ...Object.fromEntries(
    Object.entries({ conversation, participant, type, since, until }).flatMap(([name, option]) => (option ? [[name, option]] : [])),
  ),
};

function deadLettersOf(args: Arguments) {
  const filter = filterOf(args);
  const named = args.choices<FailureReason>('reason', FailureReason);
  const other = named.find((reason) => !REASONS.includes(reason));
  if (other !== undefined) throw new UsageError(`--reason: dead letters have ${REASON_NAMES.join(', ')}; msgctl list has the others.`);
  return { ...filter, failureReasons: named.length > 0 ? named : REASONS };
}

const list: Command = {
  name: 'dead-letter list',
  about: 'list messages that were given up without a verdict of the provider, newest first',
  options: { ...options, ...pageOptions },
  run: (run) => listMessages(run, deadLettersOf(run.args)),
};

async function allDeadLetters({ client, args, signal }: Run): Promise<readonly Message[]> {
  const filter = deadLettersOf(args);
  const messages: Message[] = [];
  // All of them first: what is replayed leaves the list.
  for await (const page of pagesOf(async (request) => {
    const response = await client.messages.listMessages({ filter, ...request }, { signal });
    return { items: response.messages, nextPageToken: response.nextPageToken };
  })) {
    messages.push(...page.items);
  }
  return messages;
}

const replay: Command = {
  name: 'dead-letter replay',
  takes: '[ID...]',
  about: 'send dead letters again: those named, or --all',
  more: 'Of OUTCOME_UNKNOWN the recipient may have the message: it is replayed only with --force. With --json a line for each.',
  options: {
    all: { about: 'every dead letter that the other options let through' },
    force: { about: 'also those that may reach the recipient twice' },
    'dry-run': { about: 'only list what --all would replay' },
    ...options,
  },
  async run(run) {
    const { client, args, output, signal } = run;
    const [ids, force] = [args.positionals, args.flag('force')];
    if (args.flag('all') === ids.length > 0) throw new UsageError('Give either ids or --all.');
    if (args.flag('dry-run') && !args.flag('all')) throw new UsageError('--dry-run belongs to --all.');
    const messages = args.flag('all') ? await allDeadLetters(run) : [];
    const needsForce = new Map(messages.map(({ id, failure }) => [id, failure?.retryable !== true]));
    const retry = (id: string) => client.messages.retryMessage({ id, force, requestId: randomUUID() }, { signal });
    const step = async (id: string): Promise<Outcome> =>
      needsForce.get(id) === true && !force
        ? { id, result: 'skipped', detail: 'may have been sent: --force' }
        : outcomeOf(id, () => retry(id));
    if (args.flag('dry-run')) {
      const wouldBe = messages.filter(({ id }) => force || needsForce.get(id) === false);
      if (output.json) for (const { id } of wouldBe) output.jsonLine({ id });
      else output.table(messageColumns, wouldBe.map(messageCells));
      output.note(`${wouldBe.length} of ${messages.length} would be replayed.`);
    } else tellOutcomes(await forEachOf('dead letters', args.flag('all') ? messages.map(({ id }) => id) : ids, step, output), output);
  },
};

export const deadLetterCommands: readonly Command[] = [list, replay];
