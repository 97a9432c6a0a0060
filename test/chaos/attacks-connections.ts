/** Attacks made of connections. */
import { connect } from 'node:net';
import { ATTACKER_ADDRESS, type AttackConnectionOptions, hammer, type Seen, type Target } from './attack-connection.ts';
import type { Attack } from './attacks.ts';

/** More than there is room for before their first call. */
const CONNECTIONS = 700;
const NOTHING = Buffer.alloc(0);

/** Opens connections and says nothing on them. */
function silent(name: string, options: (target: Target) => AttackConnectionOptions, secure = false): Attack {
  return {
    name,
    secure,
    run: (target, seen, signal) =>
      hammer(CONNECTIONS, seen, signal, async (open) => {
        await (await open(options(target)))?.closed;
      }),
  };
}

/** What one address opens beyond its share is refused. */
function crowd({ grpcPort }: Target, seen: Seen, signal: AbortSignal): Promise<void> {
  const ONE_CALL = 1_500;
  return hammer(ONE_CALL, seen, signal, async (open) => {
    await (await open({ port: grpcPort }))?.closed;
  });
}

export const connectionAttacks: readonly Attack[] = [
  silent('silent connections', ({ grpcPort }) => ({ port: grpcPort })),
  silent('silent connections after the preface', ({ grpcPort }) => ({ port: grpcPort, settings: NOTHING })),
  silent('TLS handshakes never begun', ({ tlsPort }) => ({ port: tlsPort }), true),
  silent('TLS, then silence', ({ tlsPort }) => ({ port: tlsPort, secure: true }), true),
  { name: 'more connections than an address may have', run: crowd },
  {
    name: 'connections opened and closed',
    harmless: 'nothing is left of them',
    run: ({ grpcPort }, seen, signal) =>
      hammer(20, seen, signal, async () => {
        const socket = connect({ port: grpcPort, host: '127.0.0.1', localAddress: ATTACKER_ADDRESS });
        await new Promise<void>((resolve) => socket.once('connect', resolve).once('error', () => resolve()));
        seen.connected += 1;
        socket.resetAndDestroy();
      }),
  },
  {
    name: 'HTTP/1.1 on the gRPC port',
    run: ({ grpcPort }, seen, signal) =>
      hammer(20, seen, signal, async (open) => {
        const connection = await open({ port: grpcPort });
        await connection?.write(Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n'));
        await connection?.closed;
      }),
  },
];
