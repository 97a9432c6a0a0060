/** What every contender does once it listens: says where, and ends when it is told to. */
import type { AddressInfo, Server } from 'node:net';

/** The parent reads this line. */
export function announce(port: number): void {
  console.log(`ready ${port}`);
}

export async function listen(server: Pick<Server, 'listen' | 'address'>): Promise<void> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  announce((server.address() as AddressInfo).port);
}

// process.exit() and not the signal itself, so that a profile is written.
process.on('SIGTERM', () => process.exit());
