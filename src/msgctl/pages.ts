/** Lists, page by page, until there are as many as were asked for. */
import { type Arguments, type Options, UsageError } from './arguments.ts';
import type { Output } from './output.ts';

const PAGE_SIZE = 200;
const DEFAULT_LIMIT = 50;

export const pageOptions: Options = {
  limit: { value: 'N', about: `at most this many; ${DEFAULT_LIMIT}` },
  all: { about: 'all of them' },
  'page-token': { value: 'TOKEN', about: 'begin after that: nextPageToken of --json, with the same filter' },
};

export interface Listed<Item> {
  readonly items: readonly Item[];
  /** Empty: that was all. */
  readonly nextPageToken: string;
}

type ReadPage<Item> = (request: { pageSize: number; pageToken: string }) => Promise<Listed<Item>>;

export async function* pagesOf<Item>(read: ReadPage<Item>, limit = Number.POSITIVE_INFINITY, start = ''): AsyncGenerator<Listed<Item>> {
  let pageToken = start;
  let left = limit;
  do {
    const page = await read({ pageSize: Math.min(PAGE_SIZE, left), pageToken });
    pageToken = page.nextPageToken;
    left -= page.items.length;
    yield page;
  } while (pageToken !== '' && left > 0);
}

export async function listOf<Item>(args: Arguments, read: ReadPage<Item>): Promise<Listed<Item>> {
  const limit = args.integer('limit', 1, 1_000_000);
  if (limit !== undefined && args.flag('all')) throw new UsageError('--limit and --all exclude each other.');
  const items: Item[] = [];
  let nextPageToken = '';
  for await (const page of pagesOf(read, args.flag('all') ? undefined : (limit ?? DEFAULT_LIMIT), args.text('page-token'))) {
    items.push(...page.items);
    nextPageToken = page.nextPageToken;
  }
  return { items, nextPageToken };
}

export function noteRest(output: Output, { items, nextPageToken }: Listed<unknown>): void {
  if (nextPageToken !== '') output.note(`The first ${items.length}; there are more: --limit N or --all.`);
  else if (items.length === 0) output.note('None.');
}
