/** From the bytes of a body to the request of a plain gRPC call. */
import type { ServerHttp2Stream } from 'node:http2';
import { fromBinary } from '@bufbuild/protobuf';
import type { LeanRequest } from './call.ts';
import { MAX_REMEMBERED_BYTES } from './checked-requests.ts';
import { FRAME_HEAD_BYTES } from './encode-answer.ts';
import type { LeanMethod } from './endpoint.ts';

/** What has been read of a body, and the rest. */
export async function* bodyOf(read: readonly Uint8Array[], stream: ServerHttp2Stream): AsyncGenerator<Uint8Array> {
  yield* read;
  // A refusal of what is left unread must still reach the caller.
  if (!stream.readableEnded) yield* stream.iterator({ destroyOnReturn: false }) as AsyncIterableIterator<Uint8Array>;
}

/** Bytes of the frame that a body begins with; undefined when it is compressed, or its head is not there yet. */
export function frameBytes(body: Buffer): number | undefined {
  return body.byteLength >= FRAME_HEAD_BYTES && body[0] === 0 ? body.readUInt32BE(1) + FRAME_HEAD_BYTES : undefined;
}

/** undefined: it cannot be decoded. */
export function receive({ desc, checked }: LeanMethod, payload: Buffer): LeanRequest | undefined {
  const bytes = checked !== undefined && payload.byteLength <= MAX_REMEMBERED_BYTES ? payload.toString('latin1') : undefined;
  const known = bytes === undefined ? undefined : checked?.find(bytes);
  if (known !== undefined) return { message: known, bytes, isChecked: true };
  try {
    return { message: fromBinary(desc.input, payload), bytes, isChecked: false };
  } catch {
    return undefined;
  }
}
