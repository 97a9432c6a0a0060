/**
 * The query builder gives a transaction's connection back only after COMMIT or ROLLBACK has succeeded, and after BEGIN has failed not at
 * all: each connection that is lost on the way would take a place of the pool for good. This gives such a connection back, to be closed.
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

export function returnLostConnections(pool: ConnectionPool): void {
  pool.on('connect', (connection) => {
    const driver: PooledConnection = Object.getPrototypeOf(connection);
    connection.query = (...parameters) => {
      // Looked up at each call: whoever traces queries may replace it later.
      const result = driver.query.apply(connection, parameters);
      if (result instanceof Promise && typeof parameters[0] === 'string' && ENDS_USE.test(parameters[0])) {
        result.catch(() => giveBack(connection));
      }
      return result;
    };
  });
}
