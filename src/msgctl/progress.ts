/** How far a long piece of work is, on standard error: a bar on a terminal, otherwise a line for each tenth. */
const CELLS = 24;

export interface Progress extends Disposable {
  update(done: number, total: number, detail?: string): void;
}

export function showProgress(what: string, isQuiet: boolean, stderr: NodeJS.WriteStream): Progress {
  let tenth = -1;
  let isDrawn = false;
  return {
    update(done, total, detail = '') {
      if (isQuiet) return;
      const part = total === 0 ? 1 : Math.min(1, done / total);
      const text = `${what}  ${done} of ${total}${detail === '' ? '' : `, ${detail}`}`;
      if (stderr.isTTY) {
        const full = Math.round(part * CELLS);
        const bar = `${'█'.repeat(full)}${'░'.repeat(CELLS - full)} ${String(Math.floor(part * 100)).padStart(3)} %`;
        stderr.write(`\r\x1b[K${`${bar}  ${text}`.slice(0, stderr.columns - 1)}`);
        isDrawn = true;
      } else if (Math.floor(part * 10) > tenth) {
        tenth = Math.floor(part * 10);
        stderr.write(`${text}\n`);
      }
    },
    [Symbol.dispose]() {
      if (isDrawn) stderr.write('\n');
    },
  };
}
