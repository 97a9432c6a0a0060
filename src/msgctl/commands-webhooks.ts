/** webhooks list, replay. */
import { create } from '@bufbuild/protobuf';
import {
  ListWebhookRequestsResponseSchema,
  Provider,
  WebhookRequest_State as State,
  type WebhookRequest,
} from '../client/messaging-client.ts';
import { type Arguments, namesOf, type Options, UsageError } from './arguments.ts';
import type { Command } from './command.ts';
import { moment, words } from './message-text.ts';
import { jsonOf } from './output.ts';
import { listOf, noteRest, pageOptions, pagesOf } from './pages.ts';
import { forEachOf, outcomeOf, tellOutcomes } from './replay.ts';

const options: Options = {
  provider: { value: 'PROVIDER', about: namesOf(Provider).join(', ') },
  state: { value: 'STATE', about: namesOf(State).join(', ') },
};

const filterOf = (args: Arguments) => ({
  provider: args.choice<Provider>('provider', Provider) ?? Provider.UNSPECIFIED,
  state: args.choice<State>('state', State) ?? State.UNSPECIFIED,
});

const columns = [
  { name: 'id' },
  { name: 'state' },
  { name: 'path', cut: true },
  { name: 'received' },
  { name: 'processed' },
  { name: 'error', cut: true },
];

const cells = (request: WebhookRequest): readonly string[] => [
  request.id,
  words(State[request.state]),
  request.path,
  moment(request.receivedAt),
  moment(request.processedAt),
  request.error,
];

const list: Command = {
  name: 'webhooks list',
  about: 'list stored webhook requests, newest first, without their bodies',
  options: { ...options, ...pageOptions },
  async run({ client, args, output, signal }) {
    args.exactly();
    const filter = filterOf(args);
    const listed = await listOf(args, async (page) => {
      const { webhookRequests, nextPageToken } = await client.providerEvents.listWebhookRequests({ ...filter, ...page }, { signal });
      return { items: webhookRequests, nextPageToken };
    });
    const { items, nextPageToken } = listed;
    if (output.json) {
      const response = create(ListWebhookRequestsResponseSchema, { webhookRequests: [...items], nextPageToken });
      output.document(jsonOf(ListWebhookRequestsResponseSchema, response));
    } else output.table(columns, items.map(cells));
    noteRest(output, listed);
  },
};

const replay: Command = {
  name: 'webhooks replay',
  takes: '[ID...]',
  about: 'process stored webhook requests again, harmlessly: those named, or --all of a state',
  more: 'Of a request that was processed already nothing is applied twice. With --json a line for each.',
  options: { all: { about: 'every request of --state, which it needs' }, ...options },
  async run({ client, args, output, signal }) {
    const named = args.positionals;
    if (args.flag('all') === named.length > 0) throw new UsageError('Give either ids or --all.');
    if (args.flag('all') && args.text('state') === undefined) throw new UsageError('--all needs --state, such as --state quarantined.');
    const filter = filterOf(args);
    const ids = [...named];
    if (args.flag('all')) {
      for await (const { items } of pagesOf(async (page) => {
        const response = await client.providerEvents.listWebhookRequests({ ...filter, ...page }, { signal });
        return { items: response.webhookRequests, nextPageToken: response.nextPageToken };
      })) {
        ids.push(...items.map(({ id }) => id));
      }
    }
    const step = (id: string) => outcomeOf(id, () => client.providerEvents.replayWebhookRequest({ id }, { signal }));
    tellOutcomes(await forEachOf('webhook requests', ids, step, output), output);
  },
};

export const webhookCommands: readonly Command[] = [list, replay];
