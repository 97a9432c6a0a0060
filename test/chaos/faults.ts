/** What is done to processes and connections. Each fault is over, and undone, when it resolves. */
import { setTimeout as wait } from 'node:timers/promises';
import { between, pick } from '../support/seeded-random.ts';
import type { TcpProxy, Weather } from '../support/tcp-proxy.ts';
import type { ConversationRow } from './population.ts';
import type { Replica, Serving } from './replica.ts';
import type { World } from './world.ts';
import { newTitle, rename } from './writers.ts';

const anyReplica = ({ stack, random }: World): Replica => pick(random, stack.replicas);

/** Whoever said last that it leads. */
function leaderOf({ stack }: World): Replica {
  const [first, ...others] = stack.replicas;
  if (first === undefined) throw new Error('there is no process');
  return others.reduce((latest, replica) => (replica.ledAt() > latest.ledAt() ? replica : latest), first);
}

const leaderOrAny = (world: World): Replica => (world.random() < 0.5 ? leaderOf(world) : anyReplica(world));

/** Renames a row, and when there is no answer looks whether it has come to be: from then on every reader must see it. */
async function renameAndLook(world: World, { writes }: Serving, row: ConversationRow): Promise<void> {
  const { servers, history, nowMs } = world;
  const title = newTitle();
  try {
    await rename(world, writes, row, title);
  } catch {
    const text = 'select version from conversations where id = $1 and title = $2';
    const { rows } = await servers.sql.query<{ version: number }>(text, [row.id, title]);
    const [found] = rows;
    if (found === undefined) return;
    world.counts.unknownWrites += 1;
    const atMs = nowMs();
    history.acknowledged(row.key, found.version, atMs);
    history.acknowledgedSome(row.key, atMs);
  }
}

/** SIGKILL between COMMIT and settle, whichever write it is; then the process is started again. */
export async function killAfterCommit(world: World): Promise<void> {
  const replica = anyReplica(world);
  const serving = await replica.serving();
  const revived = replica.revive();
  let dead = false;
  void serving.process.exited.then(() => {
    dead = true;
  });
  process.kill(serving.process.pid, 'SIGUSR2');
  while (!dead) await renameAndLook(world, serving, pick(world.random, world.population.hotConversations));
  await revived;
}

/** PostgreSQL commits, and nobody hears of it: the connection is cut. */
export async function loseCommitReply(world: World): Promise<void> {
  const replica = anyReplica(world);
  const serving = await replica.serving();
  const lost = replica.postgres.loseAnswerTo('commit');
  await renameAndLook(world, serving, pick(world.random, world.population.hotConversations));
  await lost;
}

async function stopped(replica: Replica, ms: number): Promise<void> {
  const { process: service } = await replica.serving();
  process.kill(service.pid, 'SIGSTOP');
  await wait(ms);
  process.kill(service.pid, 'SIGCONT');
}

export const stopProcess = (world: World): Promise<void> => stopped(leaderOrAny(world), between(world.random, 200, 1_500));

function proxyOf({ redis }: Replica): TcpProxy {
  if (redis === undefined) throw new Error('this process is connected to Redis itself');
  return redis;
}

async function during(replicas: readonly Replica[], weather: Weather, ms: number): Promise<void> {
  for (const replica of replicas) proxyOf(replica).set(weather);
  await wait(ms);
  for (const replica of replicas) proxyOf(replica).set({ kind: 'fine' });
}

const EARLY_WRITES = 8;

/** For longer than PostgreSQL lets it keep the lease. Meanwhile another process cannot tell Redis of its writes, and a third reads. */
export async function stopRelay(world: World): Promise<void> {
  const { stack, random } = world;
  const leader = leaderOf(world);
  const ms = between(random, 5_500, 6_500);
  const writer = pick(
    random,
    stack.replicas.filter((replica) => replica !== leader),
  );
  const writes = async (): Promise<void> => {
    const serving = await writer.serving();
    // Early, so that nothing but the end of trust keeps readers from showing what was before for long.
    for (let left = EARLY_WRITES; left > 0; left -= 1) await renameAndLook(world, serving, pick(random, world.population.conversations));
  };
  await Promise.all([stopped(leader, ms), during([writer], { kind: 'down' }, ms), writes()]);
}

export async function cutRedis(world: World): Promise<void> {
  const { servers, stack, random } = world;
  if (random() < 0.5) await servers.redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  else for (const replica of stack.replicas) if (random() < 0.7) proxyOf(replica).cut();
}

export const slowRedis = (world: World): Promise<void> =>
  during(world.stack.replicas, { kind: 'slow', delayMs: between(world.random, 10, 120) }, between(world.random, 300, 1_500));

export const stickRedis = (world: World): Promise<void> =>
  during(
    world.random() < 0.5 ? world.stack.replicas : [leaderOrAny(world)],
    { kind: world.random() < 0.5 ? 'stuck' : 'lossy' },
    between(world.random, 100, 2_000),
  );

/** One process has lost Redis, the others have not. */
export const cutOffOne = (world: World): Promise<void> => during([leaderOrAny(world)], { kind: 'down' }, between(world.random, 300, 4_000));

export async function pauseRedis({ servers, random }: World): Promise<void> {
  const ms = between(random, 100, 2_000);
  await servers.redis.call('CLIENT', 'PAUSE', ms, random() < 0.5 ? 'ALL' : 'WRITE');
  await wait(ms);
}

/** Too little for what is there, at times for anything. */
export async function fillRedis({ servers: { redis }, random }: World): Promise<void> {
  const used = Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1]);
  await redis.config('SET', 'maxmemory-policy', 'allkeys-lfu', 'maxmemory', used - between(random, -50_000, 200_000));
  await wait(between(random, 200, 1_000));
  await redis.config('SET', 'maxmemory', '0');
}

/** Redis forgets what it has acknowledged for a while. */
export async function restoreSnapshot({ servers, random }: World): Promise<void> {
  await servers.redis.save();
  await wait(between(random, 200, 2_000));
  await servers.restartRedis();
}

const DROP_UNLESS_MARK = `if redis.call('GETRANGE', KEYS[1], 0, 1) == 'W:' then return 0 end return redis.call('UNLINK', KEYS[1])`;

/** Entries vanish as if they had been evicted or had expired; at times Redis forgets its scripts as well. */
export async function dropCells({ servers: { redis }, population, random }: World): Promise<void> {
  const { conversations, messages, hotConversations, hotMessages } = population;
  const rows = [...hotConversations, ...hotMessages, pick(random, conversations), ...messages.slice(0, 5)];
  for (const { key } of rows) if (random() < 0.3) await redis.eval(DROP_UNLESS_MARK, 1, key);
  if (random() < 0.1) await redis.script('FLUSH');
}

/** Write marks too. */
export async function dropMarks({ servers: { redis }, population, random }: World): Promise<void> {
  const keys = [...population.hotConversations, ...population.hotMessages].map(({ key }) => key).filter(() => random() < 0.5);
  if (keys.length > 0) await redis.unlink(keys);
}

export const startOtherBuild = async ({ stack }: World): Promise<void> => {
  // Its entries also expire under its readers.
  await stack.replicas.at(-1)?.restart({ CHAOS_BUILD: 'next', CACHE_TTL_SECONDS: '1', CACHE_TTL_IN_FLIGHT_SECONDS: '1' });
};

export const startSameBuild = async ({ stack }: World): Promise<void> => {
  await stack.replicas.at(-1)?.restart();
};
