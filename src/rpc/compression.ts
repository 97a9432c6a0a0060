/** How requests and answers may be compressed. */
import type { Compression } from '@connectrpc/connect/protocol';
import { compressionBrotli, compressionGzip } from '@connectrpc/connect-node';
import { bulkhead } from 'cockatiel';

/** Requests, of a few bytes each, that may grow to the largest allowed in memory at the same time; others wait. */
const DECOMPRESSED_AT_ONCE = 2;
const room = bulkhead(DECOMPRESSED_AT_ONCE, Number.POSITIVE_INFINITY);

const inTurn = ({ name, compress, decompress }: Compression): Compression => ({
  name,
  compress,
  decompress: (bytes, maxBytes) => room.execute(() => decompress(bytes, maxBytes)),
});

/** For callers that ask for it. */
export const ACCEPT_COMPRESSION: readonly Compression[] = [inTurn(compressionGzip), inTurn(compressionBrotli)];
/** A shorter answer is not compressed. */
export const COMPRESS_MIN_BYTES = 1_024;
