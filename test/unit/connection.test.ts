/** What a connection is taken for by what it moves, look by look. */
import type { ServerHttp2Session } from 'node:http2';
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { Connection, Peer } from '../../src/rpc/connection.ts';
import { nothing } from '../../src/rpc/holding.ts';

const MUCH = 1_000_000;

/** Reads `bytes`, then is looked at, with so many requests still arriving. */
function open() {
  const socket = Object.assign(new PassThrough(), { bytesRead: 0, bytesWritten: 0 });
  const connection = new Connection(socket, new Peer('192.0.2.1'), { nowMs: 0, patientMs: 0 });
  let nowMs = 0;
  const look = (bytes: number, unfinished: number): boolean => {
    nowMs += 250;
    socket.bytesRead += bytes;
    connection.holding = { ...nothing(), unfinished };
    return connection.isNoise(nowMs);
  };
  const call = (): void => {
    connection.lastCallMs = nowMs + 1;
  };
  return { connection, socket, look, call };
}

describe('noise', () => {
  it('is much that comes without a call', () => {
    const { look, call } = open();
    call();
    expect([look(MUCH, 0), look(MUCH, 0)]).toEqual([false, true]);
  });

  it('is not the rest of a request that ends between two looks', () => {
    const { look, call } = open();
    call();
    expect([look(MUCH, 1), look(MUCH, 1), look(MUCH, 0), look(MUCH, 0)]).toEqual([false, false, false, true]);
  });
});

describe('heads that HTTP/2 refuses', () => {
  function openWith(answered = 0) {
    const { connection, socket } = open();
    const state = { lastProcStreamID: 0 };
    connection.session = { destroyed: false, state } as ServerHttp2Session;
    for (let call = 0; call < answered; call += 1) connection.answered(0);
    /** The `number`th stream has come, after much else. */
    const came = (number: number): boolean => {
      state.lastProcStreamID = 2 * number - 1;
      socket.bytesRead += 20_000;
      return connection.losesHeads();
    };
    return { came, heard: (number: number) => connection.heard(2 * number - 1) };
  }

  it('are noticed by the numbers of streams that were no calls', () => {
    const { came, heard } = openWith();
    heard(1);
    expect([came(1), came(101), came(102)]).toEqual([false, false, true]);
  });

  it('are those before the last call, too', () => {
    const { came, heard } = openWith();
    heard(101);
    expect([came(101), came(102)]).toEqual([false, true]);
  });

  it('are not the numbers that a client leaves out', () => {
    const { came, heard } = openWith();
    for (const number of [1_000, 2_000, 3_000]) {
      heard(number);
      expect(came(number)).toBe(false);
    }
  });

  it('may be as many more as calls were answered', () => {
    const { came } = openWith(50);
    expect([came(150), came(151)]).toEqual([false, true]);
  });
});
