/**
 * The query builder gives a transaction's connection back only after COMMIT or ROLLBACK has succeeded, and after BEGIN has failed not at
 * all: each connection that is lost on the way would take a place of the pool for good. And one whose server has gone silent looks well:
 * who gets it next would wait behind the query that was given up. This gives such connections back, to be closed.
 */

/** What of the driver's connections is used here. */
interface PooledConnection {
  query(...parameters: unknown[]): unknown;
  /** Only while it is taken from the pool. */
  release?: (destroy?: boolean) => void;
}

interface ConnectionPool {
  on(event: 'connect', listener: (connection: PooledConnection) => void): unknown;
}

/** After a failure of these nobody uses the connection again. Savepoints have other words. */
const ENDS_USE = /^(?:begin|start transaction\b.*|rollback)$/i;

function giveBack(connection: PooledConnection): void {
  const { release } = connection;
  if (release === undefined) return;
  // Should its owner do it after all: a second time is an error.
  connection.release = () => undefined;
  release(true);
}

/** The driver's error when `query_timeout` has passed: the query is still under way. */
const isUnanswered = (error: unknown): boolean => error instanceof Error && error.message === 'Query read timeout';

export function returnLostConnections(pool: ConnectionPool): void {
  pool.on('connect', (connection) => {
    const driver: PooledConnection = Object.getPrototypeOf(connection);
    connection.query = (...parameters) => {
      // Looked up at each call: whoever traces queries may replace it later.
      const result = driver.query.apply(connection, parameters);
      if (!(result instanceof Promise)) return result;
      const [text] = parameters;
      const endsUse = typeof text === 'string' && ENDS_USE.test(text);
      result.catch((error: unknown) => {
        if (endsUse || isUnanswered(error)) giveBack(connection);
      });
      return result;
    };
  });
}
