/** TCP ports of this machine. */
import { type AddressInfo, createServer } from 'node:net';

function listen(port: number, host: string): Promise<number | undefined> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    server.listen({ port, host, exclusive: true }, () => {
      const { port: bound } = server.address() as AddressInfo;
      server.close(() => resolve(bound));
    });
  });
}

/** Throws when the port may not be listened on at all, such as a privileged one. */
export async function isPortFree(port: number, host = '0.0.0.0'): Promise<boolean> {
  return (await listen(port, host)) !== undefined;
}

/** A port nothing listens on now. */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  const port = await listen(0, host);
  if (port === undefined) throw new Error('no free port');
  return port;
}
