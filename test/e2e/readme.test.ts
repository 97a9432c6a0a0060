/** README is true: its commands give the answers it shows, its tables name everything there is. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import type { DescService } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { CacheService } from '../../gen/messaging/v1/cache_service_pb.js';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { SuppressionService } from '../../gen/messaging/v1/suppression_service_pb.js';
import { variables } from '../../src/config-variables.ts';
import { createDatabase } from '../support/database.ts';
import { type ServiceProcess, startService } from '../support/processes.ts';

const readme = readFileSync('README.md', 'utf8');
const services: readonly DescService[] = [MessageService, ConversationService, ProviderEventService, SuppressionService, CacheService];

interface Example {
  readonly command: string;
  readonly answer: string;
}

const examples: readonly Example[] = [...readme.matchAll(/```console\n\$ (.+)\n([\s\S]*?)```/g)].map(([, command = '', answer = '']) => ({
  command,
  answer,
}));

/** What differs from run to run. */
function withoutVariables(text: string): string {
  return text
    .trim()
    .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '<id>')
    .replaceAll(/\d{4}-\d{2}-\d{2}[T ][\d:.]+Z/g, '<time>');
}

async function outputOf(command: string): Promise<string> {
  const env = { ...process.env, PATH: `node_modules/.bin:${process.env['PATH']}` };
  const run = promisify(execFile)('bash', ['-c', command], { env });
  const { stdout, stderr } = await run.catch((error: { stdout: string; stderr: string }) => error);
  return stdout + stderr;
}

function tableRows(heading: string): readonly (readonly string[])[] {
  const section = readme.split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  const rows = section.split('\n').filter((line) => line.startsWith('|'));
  return rows.slice(2).map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

describe('README', () => {
  const opened = new AsyncDisposableStack();
  let service: ServiceProcess;

  beforeAll(async () => {
    const database = opened.use(await createDatabase());
    const redis = inject('redis');
    service = opened.use(
      await startService({
        DATABASE_URL: database.url,
        ...(redis === null ? {} : { REDIS_HOST: redis.host, REDIS_PORT: String(redis.port) }),
      }),
    );
  });
  afterAll(() => opened.disposeAsync());

  it('has examples', () => expect(examples.length).toBeGreaterThanOrEqual(2));

  it.each(examples)('shows what this prints: $command', async ({ command, answer }) => {
    const actual = await outputOf(command.replaceAll('localhost:50051', `127.0.0.1:${service.grpcPort}`));
    expect(withoutVariables(actual)).toBe(withoutVariables(answer));
  });

  it('lists every variable of the configuration with its default and meaning', () => {
    const expected = Object.entries(variables).map(([name, spec]) => {
      const value: unknown = 'default' in spec ? spec.default : undefined;
      const empty = value === '' || (Array.isArray(value) && value.length === 0);
      return [`\`${name}\``, value === undefined ? 'required' : empty ? '' : `\`${value}\``, spec.desc];
    });
    expect(tableRows('Configuration')).toEqual(expected);
  });

  it('lists every method of every service', () => {
    const listed = tableRows('RPCs').map(([, method]) => method);
    expect(listed).toEqual(services.flatMap(({ methods }) => methods.map(({ name }) => name)));
  });

  it('names metrics that exist', async () => {
    const text = await (await fetch(`http://127.0.0.1:${service.httpPort}/metrics`)).text();
    const names = tableRows('Look inside').flatMap(([cell = '']) => [...cell.matchAll(/`([a-z_]+)/g)].map(([, name = '']) => name));
    expect(names.length).toBeGreaterThan(5);
    for (const name of names) expect(text).toContain(`# TYPE ${name.replace(/_total$/, '')} `);
  });
});
