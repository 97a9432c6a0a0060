/** health, config check. */

import { HealthListResponseSchema, HealthCheckResponse_ServingStatus as ServingStatus } from '../client/messaging-client.ts';
import { ConfigError, readConfig } from '../config.ts';
import { type Command, Failed } from './command.ts';
import { type Risk, risksOf } from './config-risks.ts';
import { words } from './message-text.ts';
import { jsonOf } from './output.ts';

const health: Command = {
  name: 'health',
  about: 'whether the service takes calls; exit code 1 when it does not',
  async run({ client, args, output, signal, address }) {
    args.exactly();
    const response = await client.health.list({}, { signal });
    const statuses = Object.entries(response.statuses).toSorted(([left], [right]) => left.localeCompare(right));
    if (output.json) output.document(jsonOf(HealthListResponseSchema, response));
    else {
      const rows = statuses.map(([name, { status }]) => [name || 'the server as a whole', words(ServingStatus[status])]);
      output.table([{ name: 'service' }, { name: 'status' }], rows);
    }
    if (statuses.length === 0 || statuses.some(([, { status }]) => status !== ServingStatus.SERVING)) {
      throw new Failed(`The service at ${address} does not take calls: PostgreSQL is away, or it is being stopped. /readyz says which.`);
    }
  },
};

interface Checked {
  readonly problems: readonly string[];
  readonly risks: readonly Risk[];
}

function check(): Checked {
  try {
    return { problems: [], risks: risksOf(readConfig()) };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const lines = error.message.split('\n').filter((line) => line.startsWith('  '));
    return { problems: lines.map((line) => line.trim()), risks: [] };
  }
}

const configCheck: Command = {
  name: 'config check',
  about: 'check the environment as the service would at its start, and name settings that are risky',
  more: 'Calls nothing. Exit code 1 when the service would not start; risks are not errors.',
  async run({ args, output }) {
    args.exactly();
    const { problems, risks } = check();
    if (output.json) output.document({ ok: problems.length === 0, problems: [...problems], risks: risks.map((risk) => ({ ...risk })) });
    else if (problems.length > 0) for (const problem of problems) output.line(problem);
    else {
      if (risks.length > 0)
        output.table(
          [{ name: 'variable' }, { name: 'risk' }],
          risks.map(({ variable, risk }) => [variable, risk]),
        );
      output.line(`The service would start. Risky settings: ${risks.length}.`);
    }
    if (problems.length > 0)
      throw new Failed('The service would not start with this environment. README.md, Configuration, says what each variable takes.');
  },
};

export const serviceCommands: readonly Command[] = [health, configCheck];
