/** What the simulator's two APIs have in common. */
import type { IncomingHttpHeaders } from 'node:http';

export interface ApiRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface ApiAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** JSON, or empty. */
  readonly body: string;
}

/** Answers that come in place of the real one. */
export type Refusal = 'fail' | 'unavailable' | 'throttle' | 'reject' | 'unauthorized';

export interface ProviderApi {
  readonly maxBodyBytes: number;
  /** Whether the path is one of this provider's. */
  serves(path: string): boolean;
  /** undefined: the credentials are right. */
  unauthorized(request: ApiRequest): ApiAnswer | undefined;
  isSend(request: ApiRequest): boolean;
  /** Accepts, or says what is wrong. Callbacks of what it accepts are on their way when it returns. */
  send(request: ApiRequest): { readonly accepted: boolean; readonly answer: ApiAnswer };
  lookup(request: ApiRequest): ApiAnswer;
  refuse(refusal: Refusal): ApiAnswer;
  tooLarge(): ApiAnswer;
}

export function json(status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): ApiAnswer {
  return { status, headers, body: JSON.stringify(value) };
}
