/** The attackers: a process of their own, so that the honest client does not wait for them. `node attack-process.ts ATTACK`; its target is in ATTACK_TARGET. */
import { newSeen, type Target } from './attack-connection.ts';
import { attacks } from './attacks.ts';

const attack = attacks.find(({ name }) => name === process.argv[2]);
if (attack === undefined) throw new Error(`there is no attack ${process.argv[2]}`);
const target = JSON.parse(process.env['ATTACK_TARGET'] ?? '') as Target;
const seen = newSeen();
const stop = new AbortController();
process.once('SIGTERM', () => {
  console.log(JSON.stringify(seen));
  process.exit();
});
const attacking = attack.run(target, seen, stop.signal);
console.log('attacking');
await attacking;
