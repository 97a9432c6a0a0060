/** The commands of the cell protocol. Each but getMany touches one key, so that Redis Cluster can serve them. See ARCHITECTURE.md, cache. */

/** What settle() found: its own mark and replaced it by the value, or dropped the entry; nothing of its own, or something newer. */
export type SettleOutcome = 'stored' | 'dropped' | 'left';

export interface CellCommands {
  get(key: string): Promise<Buffer | null>;
  /** The same for several at one moment, in their order; undefined when they may live on several servers. */
  readonly getMany: ((keys: readonly string[]) => Promise<readonly (Buffer | null)[]>) | undefined;
  /** Takes the read lease when the key is absent. Returns what is in the way otherwise. */
  lease(key: string, token: string): Promise<Buffer | null>;
  /** Replaces the lease, if it is still there. */
  fill(key: string, token: string, value: Buffer, ttlMs: number): Promise<boolean>;
  /** Gives the lease back, if it is still there. */
  release(key: string, token: string): Promise<void>;
  /** Puts the write mark in place of whatever is there; see markToken(). True when readers have been asking for the row. */
  mark(key: string, token: string): Promise<boolean>;
  /** Replaces the own mark by `value`, or drops it; drops leases and older values too. */
  settle(key: string, token: string, version: number, value?: { readonly cell: Buffer; readonly ttlMs: number }): Promise<SettleOutcome>;
  /** Drops leases and values below `version`, and lets no mark of an earlier one become a value. True when it found any. */
  bump(key: string, version: number): Promise<boolean>;
  /** Prolongs the life of an entry that says the same, and drops one that does not, unless it is newer. */
  refresh(key: string, version: number, value: Buffer, ttlMs: number): Promise<boolean>;
}

/** Above every version: bump() with it drops whatever is cached. */
export const ANY_VERSION = 999_999_999_999_999;

/**
 * The token of a write mark says which version its transaction commits: a change up to that one was made before it, under the same row
 * lock, and is no reason to distrust what it will settle.
 */
export function markToken(version: number, unique: string): string {
  return `${version}.${unique}`;
}

/** A reader that takes longer than this to load a row may not fill it any more. */
export const LEASE_MS = 2_000;
/** Longer than a COMMIT can take; after that a crashed writer's mark stops hiding the row. */
export const MARK_MS = 10_000;

/** The head of any cell; a key of another type, which is none of ours, reads as `?`. Large values stay in Redis. */
const HEAD = `local head = redis.pcall('GETRANGE', KEYS[1], 0, 63)
if type(head) ~= 'string' then head = '?' end
local kind = string.sub(head, 1, 2)
local version = tonumber(string.match(head, '^[VN]:(%d+)'))
`;

const FILL = `${HEAD}if head ~= 'L:' .. ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`;

const RELEASE = `${HEAD}if head ~= 'L:' .. ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`;

const MARK = `${HEAD}redis.call('SET', KEYS[1], 'W:' .. ARGV[1], 'PX', ARGV[2])
if kind == 'V:' or kind == 'L:' then return 1 end
return 0`;

/** A mark of an earlier version must not become a value. */
const TAINT = `local function taintBelow(version)
  local marked = tonumber(string.match(head, '^W:(%d+)%.'))
  if marked and marked >= tonumber(version) then return 0 end
  if string.sub(head, -1) ~= '!' then redis.call('SET', KEYS[1], head .. '!', 'KEEPTTL') end
  return 1
end
`;

/**
 * When the value cannot be written, for lack of memory, the mark must not stay either. Marks are set in the order of the row lock: an
 * earlier writer's is there only because the own one was lost, and its value is old.
 */
const SETTLE = `${HEAD}${TAINT}if head == '' then return 'left' end
if head == 'W:' .. ARGV[1] and ARGV[3] then
  local set = redis.pcall('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
  if not set.err then return 'stored' end
elseif kind == 'W:' and head ~= 'W:' .. ARGV[1] and head ~= 'W:' .. ARGV[1] .. '!' then
  taintBelow(ARGV[2])
  return 'left'
elseif version and version >= tonumber(ARGV[2]) then
  return 'left'
end
redis.call('DEL', KEYS[1])
return 'dropped'`;

const BUMP = `${HEAD}${TAINT}if head == '' then return 0 end
if kind == 'W:' then
  return taintBelow(ARGV[1])
end
if version and version >= tonumber(ARGV[1]) then return 0 end
redis.call('UNLINK', KEYS[1])
return 1`;

/** What differs in version or content is dropped: a row that was deleted and made anew counts from 1 again. */
const REFRESH = `${HEAD}if kind ~= 'V:' or not version or version > tonumber(ARGV[1]) then return 0 end
local content = '^V:%d+:[^:]*:(.*)$'
if version == tonumber(ARGV[1]) and string.match(redis.call('GET', KEYS[1]), content) == string.match(ARGV[2], content) then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
redis.call('UNLINK', KEYS[1])
return 0`;

/** For the `scripts` option of ioredis. */
export const cellScripts = {
  cellFill: { lua: FILL, numberOfKeys: 1 },
  cellRelease: { lua: RELEASE, numberOfKeys: 1 },
  cellMark: { lua: MARK, numberOfKeys: 1 },
  cellSettle: { lua: SETTLE, numberOfKeys: 1 },
  cellBump: { lua: BUMP, numberOfKeys: 1 },
  cellRefresh: { lua: REFRESH, numberOfKeys: 1 },
} as const;

/** What of an ioredis client is used here; its types do not know commands that are defined at run time. */
export interface CellClient {
  getBuffer(key: string): Promise<Buffer | null>;
  mgetBuffer(...keys: readonly string[]): Promise<(Buffer | null)[]>;
  setBuffer(key: string, value: string, px: 'PX', ttlMs: number, nx: 'NX', get: 'GET'): Promise<Buffer | null>;
  cellFill(key: string, token: string, value: Buffer, ttlMs: number): Promise<number>;
  cellRelease(key: string, token: string): Promise<number>;
  cellMark(key: string, token: string, ttlMs: number): Promise<number>;
  cellSettle(key: string, token: string, version: number, ...value: readonly [] | readonly [Buffer, number]): Promise<SettleOutcome>;
  cellBump(key: string, version: number): Promise<number>;
  cellRefresh(key: string, version: number, value: Buffer, ttlMs: number): Promise<number>;
}

/** `together`: one server has all keys. */
export function cellCommands(client: CellClient, together: boolean): CellCommands {
  return {
    get: (key) => client.getBuffer(key),
    getMany: together ? (keys) => client.mgetBuffer(...keys) : undefined,
    lease: (key, token) => client.setBuffer(key, `L:${token}`, 'PX', LEASE_MS, 'NX', 'GET'),
    fill: async (key, token, value, ttlMs) => (await client.cellFill(key, token, value, ttlMs)) === 1,
    async release(key, token) {
      await client.cellRelease(key, token);
    },
    mark: async (key, token) => (await client.cellMark(key, token, MARK_MS)) === 1,
    settle: (key, token, version, value) =>
      value === undefined
        ? client.cellSettle(key, token, version)
        : client.cellSettle(key, token, version, value.cell, Math.round(value.ttlMs)),
    bump: async (key, version) => (await client.cellBump(key, version)) === 1,
    refresh: async (key, version, value, ttlMs) => (await client.cellRefresh(key, version, value, ttlMs)) === 1,
  };
}
