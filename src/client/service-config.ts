import type { DescMethod, DescService } from '@bufbuild/protobuf';
import { MethodOptions_IdempotencyLevel as IdempotencyLevel } from '@bufbuild/protobuf/wkt';

/** The first attempt counts. grpc-js allows 5 at most. */
const MAX_ATTEMPTS = 4;

/** The contract says so: repeating the call does no harm. */
function isRepeatable({ idempotency }: DescMethod): boolean {
  return idempotency === IdempotencyLevel.NO_SIDE_EFFECTS || idempotency === IdempotencyLevel.IDEMPOTENT;
}

/**
 * gRPC service config as JSON: calls are spread over all addresses of the target, and methods that the contract marks as free of
 * side effects or idempotent are tried again, within the deadline, when the service is UNAVAILABLE. All other methods are never
 * repeated here; SendMessage is safe to repeat by the caller when it brings a `request_id`.
 */
export function serviceConfigOf(services: readonly DescService[]): string {
  const repeatable = services.flatMap((service) => service.methods.filter(isRepeatable));
  return JSON.stringify({
    loadBalancingConfig: [{ round_robin: {} }],
    methodConfig: [
      {
        name: repeatable.map((method) => ({ service: method.parent.typeName, method: method.name })),
        retryPolicy: {
          maxAttempts: MAX_ATTEMPTS,
          initialBackoff: '0.1s',
          maxBackoff: '1s',
          backoffMultiplier: 2,
          retryableStatusCodes: ['UNAVAILABLE'],
        },
      },
    ],
    // Ten failures in a row stop all retries until successes earn them back: retries must not keep a struggling service down.
    retryThrottling: { maxTokens: 20, tokenRatio: 0.1 },
  });
}
