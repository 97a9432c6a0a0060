/** `make msgctl`: msgctl against `make run`, when it runs and nothing else is named. */
import { findRun } from './run-lock.ts';

process.env['MSGCTL_ADDRESS'] ??= (await findRun())?.address?.grpc ?? '';
await import('../msgctl/msgctl.ts');
