/** Imported into the service under attack (NODE_OPTIONS): on SIGUSR2 it collects garbage, and writes what memory it has left. */
interface Collection {
  readonly type: 'major';
  /** V8 keeps the pages of what it has let go of for a while; this time it returns them. */
  readonly flavor: 'last-resort';
}

const collect = (globalThis as { gc?: (collection: Collection) => void }).gc;
process.on('SIGUSR2', () => {
  collect?.({ type: 'major', flavor: 'last-resort' });
  // What finalizers let go of takes another turn.
  setImmediate(() => {
    collect?.({ type: 'major', flavor: 'last-resort' });
    console.log(JSON.stringify({ residentBytes: process.memoryUsage.rss() }));
  });
});
