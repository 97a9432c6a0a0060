import pg from 'pg';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { type OpenedStorage, openStorage, type UseCases, useCases } from '../support/use-cases.ts';

const CANARY = 'canary body of a prepared statement';

let storage: OpenedStorage;
let on: UseCases;

beforeAll(async () => {
  storage = await openStorage();
  on = useCases(storage);
  await on.send({});
});

afterAll(() => storage[Symbol.asyncDispose]());

interface Statement {
  readonly name: string | undefined;
  readonly text: string;
}

async function statementsOf(work: () => Promise<unknown>): Promise<readonly Statement[]> {
  const spy = vi.spyOn(pg.Client.prototype, 'query');
  try {
    await work();
    return (spy.mock.calls as readonly unknown[][]).map(([first]) => {
      const { name, text } = typeof first === 'string' ? { name: undefined, text: first } : (first as pg.QueryConfig);
      return { name, text };
    });
  } finally {
    spy.mockRestore();
  }
}

const CONTROL = /^(begin|commit|start transaction|set)\b/i;

it('sending a message takes statements that are prepared, with all values bound', async () => {
  const send = () => on.send({ body: CANARY });
  const [first, second] = [await statementsOf(send), await statementsOf(send)];
  const asked = second.filter(({ text }) => !CONTROL.test(text));
  expect(asked.length).toBeGreaterThan(0);
  for (const { name, text } of asked) {
    expect(text).not.toContain(CANARY);
    expect(name).toMatch(/^messaging_\d+$/);
  }
  expect(second).toEqual(first);
});

it('a row is read by a statement that is prepared, alone and with others', async () => {
  const { message } = await on.send({});
  const one = await statementsOf(() => storage.reads.findMessage(message.id));
  const many = await statementsOf(() => storage.reads.findMessages([message.id, message.conversationId]));
  expect(one).toHaveLength(1);
  expect(one[0]?.name).toMatch(/^messaging_\d+$/);
  expect(many).toEqual(one);
});

it('PostgreSQL keeps one plan for each text and connection', async () => {
  const { message } = await on.send({});
  const query = pg.Client.prototype.query;
  let connection: pg.Client | undefined;
  const spy = vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (this: pg.Client, ...parameters: unknown[]) {
    connection = this;
    return Reflect.apply(query, this, parameters) as never;
  });
  for (let times = 0; times < 3; times += 1) await storage.reads.findMessage(message.id);
  spy.mockRestore();
  const kept = await connection?.query<{ statement: string }>('select statement from pg_prepared_statements');
  const statements = (kept?.rows ?? []).map(({ statement }) => statement);
  expect(new Set(statements).size).toBe(statements.length);
  expect(statements.filter((statement) => statement.includes('from messages where id = any'))).toHaveLength(1);
});
