/** Which lane answers plain unary gRPC calls in the services that tests start: LEAN_LANE of the tests' own environment says it. */

/** For the environment of a service; empty when the service's default counts. */
export function laneSettings(): Readonly<Record<string, string>> {
  const { LEAN_LANE } = process.env;
  return LEAN_LANE === undefined ? {} : { LEAN_LANE };
}
