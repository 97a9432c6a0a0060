import { Logger } from 'graphile-worker';
import type { Log } from '../telemetry/log.ts';

/**
 * The queue's own words, at a level below ours: it tells of every job. Errors of jobs are logged without their text, which may hold
 * anything.
 */
export function queueLogger(log: Log): Logger {
  return new Logger(({ taskIdentifier }) => (level, message, meta) => {
    const { error } = meta as { readonly error?: unknown };
    if (level === 'error') log.warn({ task: taskIdentifier, err: error }, 'a job or the queue failed; it will be tried again');
    else if (level === 'warning') log.debug({ task: taskIdentifier }, message);
  });
}
