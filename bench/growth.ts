/**
 * `make bench-growth`: what a hit costs as the table, the set of rows that are read, and the number of connections grow, and what idle
 * connections hold. Ratios within each round, against the smallest.
 */
import { writeFileSync } from 'node:fs';
import pg from 'pg';
import { GROWTH_FILE, type Growth } from './growth-result.ts';
import { type ConnectionEvents, openHttp2Connection, prepareCall } from './http2-connection.ts';
import { type Lab, openLab, type RunningContender } from './lab.ts';
import type { Window } from './load.ts';
import { GET_MESSAGE, service } from './plan.ts';
import { residentMegabytes } from './process-cost.ts';
import { HOT_ROWS, reads } from './requests.ts';
import { databaseUrl, insertMessages } from './rows.ts';
import { rangeOf, showRange } from './statistics.ts';
import { versions } from './versions.ts';

const TABLE_ROWS = [1_000, 100_000, 1_000_000] as const;
/** Of the ids that are read when more than the hot ones are: as many as stay in Redis without question. */
const MOST_IDS = 100_000;
const CONNECTIONS = [1, 100, 1_000] as const;
const IN_FLIGHT = 100;
const ROUNDS = 5;
const IDLE_CONNECTIONS = 1_000;
const IDLE_REPEATS = 3;
const WARM_UP_REQUESTS = 20_000;
const WINDOW_MS = 1_500;

const contenderOf = (rows: number) => service(`growth-${rows}`, 'full', true);
const spreadSet = (rows: number): string => `spread-${rows}`;

/** CPU of a hit in µs. */
async function cpuOfHit({ load }: Lab, { port, pid }: RunningContender, changes: Partial<Window>): Promise<number> {
  const { cpuUs, requests } = await load.run({
    ...{ port, pid, path: GET_MESSAGE, requestSet: 'hot', order: 'random', connections: 10, inFlight: IN_FLIGHT },
    ...{ rampMs: 300, windowMs: WINDOW_MS },
    ...changes,
  });
  return cpuUs / requests;
}

/** Ids from all over the table, as many as there are or as will fit. */
async function prepare(lab: Lab, server: RunningContender, rows: number): Promise<void> {
  const ids = Math.min(rows, MOST_IDS);
  const step = rows / ids;
  await lab.load.remember(
    reads(
      spreadSet(rows),
      Array.from({ length: ids }, (_, index) => Math.floor(index * step)),
    ),
  );
  const fill = { order: 'cycle', rampMs: 0, windowMs: 120_000 } as const;
  await cpuOfHit(lab, server, { ...fill, requestSet: spreadSet(rows), limit: ids });
  await cpuOfHit(lab, server, { ...fill, limit: WARM_UP_REQUESTS });
}

async function growTable(lab: Lab, rows: number): Promise<void> {
  const sql = new pg.Client({ connectionString: databaseUrl(lab.postgresUrl, contenderOf(rows).database ?? '') });
  await sql.connect();
  await insertMessages(sql, HOT_ROWS, rows);
  await sql.end();
}

/** RSS that idle connections add, in MB. Each has made one call, for one that never did is closed soon. */
async function idleConnectionsMb(lab: Lab): Promise<number> {
  await using server = await lab.start(contenderOf(TABLE_ROWS[0]));
  await server.thaw();
  await cpuOfHit(lab, server, { limit: WARM_UP_REQUESTS, rampMs: 0, windowMs: 60_000 });
  const settle = () => new Promise((resolve) => setTimeout(resolve, 1_000));
  await settle();
  const before = residentMegabytes(server.pid);
  const [request] = reads('idle', [0]).requests;
  const call = prepareCall(request ?? Buffer.alloc(0), { marker: undefined, leastBytes: 1 });
  const connections = [];
  for (let index = 0; index < IDLE_CONNECTIONS; index += 1) {
    const answered = Promise.withResolvers<void>();
    const events: ConnectionEvents = {
      onAnswer: () => answered.resolve(),
      onFailure: (reason) => answered.reject(new Error(reason)),
      onBatch: () => undefined,
    };
    const connection = await openHttp2Connection(server.port, GET_MESSAGE, events);
    connection.send(call, 0);
    connection.flush();
    await answered.promise;
    connections.push(connection);
  }
  await settle();
  const added = residentMegabytes(server.pid) - before;
  for (const connection of connections) connection.close();
  return added;
}

function printRow(label: string, ratios: readonly number[]): void {
  console.log(`  ${label.padEnd(64)} ${showRange(rangeOf(ratios))}`);
}

await using opened = new AsyncDisposableStack();
const databases = TABLE_ROWS.map((rows) => contenderOf(rows).database ?? '');
const lab = opened.use(await openLab({ rows: HOT_ROWS, databases }));
await lab.load.remember(
  reads(
    'hot',
    Array.from({ length: HOT_ROWS }, (_, row) => row),
  ),
);
const idleMb: number[] = [];
for (let repeat = 0; repeat < IDLE_REPEATS; repeat += 1) idleMb.push(await idleConnectionsMb(lab));
console.log(`  RSS that ${IDLE_CONNECTIONS} idle connections add, MB: ${showRange(rangeOf(idleMb), 0)}`);

const servers = new Map<number, RunningContender>();
for (const rows of TABLE_ROWS) {
  if (rows > HOT_ROWS) await growTable(lab, rows);
  const server = opened.use(await lab.start(contenderOf(rows)));
  servers.set(rows, server);
  await server.thaw();
  await prepare(lab, server, rows);
  server.freeze();
  console.log(`  ${rows.toLocaleString('en-US')} rows are ready`);
}

/** By what was measured, one figure a round. */
const cost: Record<string, number[]> = {};
const note = (what: string, us: number): void => {
  cost[what] = [...(cost[what] ?? []), us];
};
for (let round = 0; round < ROUNDS; round += 1) {
  for (const [rows, server] of servers) {
    await server.thaw();
    note(`hot-${rows}`, await cpuOfHit(lab, server, {}));
    note(spreadSet(rows), await cpuOfHit(lab, server, { requestSet: spreadSet(rows) }));
    if (rows === TABLE_ROWS[0]) {
      for (const connections of CONNECTIONS) note(`connections-${connections}`, await cpuOfHit(lab, server, { connections }));
    }
    server.freeze();
  }
  console.log(`  round ${round + 1} of ${ROUNDS}`);
}

const against = (what: string, first: string): readonly number[] =>
  (cost[what] ?? []).map((us, round) => us / (cost[first]?.[round] ?? Number.NaN));
const [fewest, , most] = TABLE_ROWS;
console.log('\n  CPU of a hit, against the first of its kind');
for (const rows of TABLE_ROWS)
  printRow(`${rows.toLocaleString('en-US')} rows, 1,000 of them read`, against(`hot-${rows}`, `hot-${fewest}`));
for (const rows of TABLE_ROWS) {
  const ids = Math.min(rows, MOST_IDS).toLocaleString('en-US');
  printRow(`${rows.toLocaleString('en-US')} rows, ${ids} of them read`, against(spreadSet(rows), spreadSet(fewest)));
}
for (const connections of CONNECTIONS) {
  const label = `${connections.toLocaleString('en-US')} connections, ${IN_FLIGHT} requests in flight`;
  printRow(label, against(`connections-${connections}`, `connections-${CONNECTIONS[0]}`));
}
const record: Growth = {
  date: new Date().toISOString(),
  command: 'make bench-growth',
  versions: await versions(lab),
  rows: against(`hot-${most}`, `hot-${fewest}`),
  spreadRows: against(spreadSet(most), spreadSet(fewest)),
  connections: against(`connections-${CONNECTIONS[2]}`, `connections-${CONNECTIONS[0]}`),
  idleConnectionsMb: idleMb,
  cpuUs: cost,
};
writeFileSync(GROWTH_FILE, `${JSON.stringify(record, undefined, 2)}\n`);
console.log(`\n  ${GROWTH_FILE}`);
