import { DomainError } from '../domain/errors.ts';
import type { RequestKey, Tx } from '../domain/ports.ts';

export type OptionalRequestKey = Omit<RequestKey, 'requestId'> & { readonly requestId: string | undefined };

/**
 * Claims a request_id for one resource. Returns undefined when the work is to be done, the id of the earlier resource when it was
 * done before. Throws request_id_reused when it was used for something else; `noun` is the metadata key of the resource id.
 */
export async function claimOrReplay(tx: Tx, key: OptionalRequestKey, noun: 'message_id' | 'conversation_id'): Promise<string | undefined> {
  const { requestId } = key;
  if (requestId === undefined) return undefined;
  const claim = await tx.claimRequest({ ...key, requestId });
  if (claim.outcome === 'claimed') return undefined;
  if (claim.outcome === 'replay') return claim.resourceId;
  throw new DomainError('request_id_reused', `request_id ${requestId} was used before with other content`, {
    metadata: { request_id: requestId, [noun]: claim.resourceId },
  });
}
