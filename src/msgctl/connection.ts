import { readFileSync } from 'node:fs';
import { createMessagingClient, type MessagingClient } from '../client/messaging-client.ts';
import { type Arguments, UsageError } from './arguments.ts';
import { fromEnvironment } from './environment.ts';

const DEFAULT_ADDRESS = 'localhost:50051';

function contentOf(option: 'ca' | 'cert' | 'key' | 'token-file', args: Arguments): Buffer | undefined {
  const path = args.text(option) ?? fromEnvironment(option);
  if (path === undefined) return undefined;
  try {
    return readFileSync(path);
  } catch (error) {
    throw new UsageError(`--${option} ${path} cannot be read: ${(error as NodeJS.ErrnoException).code ?? String(error)}.`);
  }
}

export interface Connection {
  readonly address: string;
  readonly client: MessagingClient;
}

/** Does not connect yet. A token comes from a file: what is on the command line can be read by everybody on the machine. */
export function connectionOf(args: Arguments): Connection {
  const address = args.text('address') ?? fromEnvironment('address') ?? DEFAULT_ADDRESS;
  const [ca, cert, key] = [contentOf('ca', args), contentOf('cert', args), contentOf('key', args)];
  if ((cert === undefined) !== (key === undefined)) throw new UsageError('--cert and --key belong together: give both or neither.');
  const tls = { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
  const token = contentOf('token-file', args)?.toString('utf8').trim();
  const deadlineMs = args.integer('timeout-ms', 1, 3_600_000);
  const client = createMessagingClient(address, {
    ...(args.flag('tls') || Object.keys(tls).length > 0 ? { tls } : {}),
    ...(token === undefined ? {} : { token }),
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
  });
  return { address, client };
}
