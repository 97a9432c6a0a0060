/** What a connection is taken for by what it moves, look by look. */
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { Connection, Peer } from '../../src/rpc/connection.ts';

const MUCH = 1_000_000;

/** Reads `bytes`, then is looked at, with so many requests still arriving. */
function open() {
  const socket = Object.assign(new PassThrough(), { bytesRead: 0, bytesWritten: 0 });
  const connection = new Connection(socket, new Peer('192.0.2.1'), { nowMs: 0, patientMs: 0 });
  let nowMs = 0;
  const look = (bytes: number, unfinished: number): boolean => {
    nowMs += 250;
    socket.bytesRead += bytes;
    connection.holding = { unfinished, oldUnfinished: 0, oldUnfinishedMs: 0, unread: 0, bytes: 0 };
    return connection.isNoise(nowMs);
  };
  const call = (): void => {
    connection.lastCallMs = nowMs + 1;
  };
  return { look, call };
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
