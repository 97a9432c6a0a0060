/** Imported into the service under attack (NODE_OPTIONS): on SIGUSR2 it collects garbage, and writes what memory it has left. */
const collect = (globalThis as { gc?: () => void }).gc;
process.on('SIGUSR2', () => {
  collect?.();
  // What finalizers let go of takes another turn.
  setImmediate(() => {
    collect?.();
    console.log(JSON.stringify({ residentBytes: process.memoryUsage().rss, heapBytes: process.memoryUsage().heapUsed }));
  });
});
