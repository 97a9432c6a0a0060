/**
 * Requests that were decoded and checked before, by their bytes: readers of hot rows send the same ones again and again. Only of methods
 * without side effects, whose handlers share the message; the rules for them look at nothing but the request.
 */
import type { Message } from '@bufbuild/protobuf';

export interface CheckedRequests {
  /** `bytes` as text, one character each. */
  find(bytes: string): Message | undefined;
  remember(bytes: string, request: Message): void;
}

/** A longer one, a batch, is seldom sent twice. */
export const MAX_REMEMBERED_BYTES = 128;
const MAX_REQUESTS = 4_096;

/** Keeps between one and two times MAX_REQUESTS of those that were used last. */
export function createCheckedRequests(): CheckedRequests {
  let young = new Map<string, Message>();
  let old = new Map<string, Message>();
  const keep = (bytes: string, request: Message): void => {
    if (young.size === MAX_REQUESTS) {
      old = young;
      young = new Map();
    }
    young.set(bytes, request);
  };
  return {
    find(bytes) {
      const known = young.get(bytes);
      if (known !== undefined) return known;
      const older = old.get(bytes);
      if (older !== undefined) keep(bytes, older);
      return older;
    },
    remember(bytes, request) {
      keep(bytes, Object.freeze(request));
    },
  };
}
