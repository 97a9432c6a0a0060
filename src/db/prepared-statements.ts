/** Statements that are sent for every call are parsed and planned once per connection, not each time. */

/** Put at the end of their text; parameters are bound, so that one text stands for all of them. */
export const PREPARED = '/* prepared */';

interface Connection {
  query(...parameters: unknown[]): unknown;
}

interface ConnectionPool {
  on(event: 'connect', listener: (connection: Connection) => void): unknown;
}

/** PostgreSQL knows the names per connection; the texts are few. */
const names = new Map<string, string>();

function nameOf(text: string): string {
  const known = names.get(text);
  if (known !== undefined) return known;
  const name = `messaging_${names.size + 1}`;
  names.set(text, name);
  return name;
}

/** The query builder knows no names for statements: gives one to those whose text asks for it. */
export function prepareStatements(pool: ConnectionPool): void {
  pool.on('connect', (connection) => {
    const query = connection.query.bind(connection);
    connection.query = (...parameters) => {
      const [text, values] = parameters;
      if (typeof text !== 'string' || !text.endsWith(PREPARED) || !Array.isArray(values)) return query(...parameters);
      return query({ name: nameOf(text), text, values });
    };
  });
}
