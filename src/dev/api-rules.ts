/** Rules of protovalidate, as the contract has them, in words for the API reference. Throws on a rule without words. */
import type { JsonObject, JsonValue } from '@bufbuild/protobuf';

type Rule = readonly [name: string, value: JsonValue];

const isObject = (value: JsonValue): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Seconds of a Timestamp or Duration in JSON, and plain numbers, 64 bits included. */
function bound(value: JsonValue): string {
  if (typeof value === 'string' && value.endsWith('Z')) return value.slice(0, 10);
  if (typeof value === 'string' && value.endsWith('s')) return value.replace(/s$/, ' s');
  return String(value);
}

const number = (value: JsonValue): string => Number(value).toLocaleString('en-US');

const WORDS: Readonly<Record<string, (value: JsonValue) => string>> = {
  'string.uuid': () => 'a UUID',
  'string.uri': () => 'a URI',
  'string.min_len': (value) => (value === '1' ? 'not empty' : `at least ${number(value)} characters`),
  'string.max_len': (value) => `at most ${number(value)} characters`,
  'string.max_bytes': (value) => `at most ${number(value)} bytes`,
  'string.pattern': (value) => `matches \`${String(value)}\``,
  'enum.defined_only': () => 'a value listed here',
  'repeated.min_items': (value) => `at least ${number(value)}`,
  'repeated.max_items': (value) => `at most ${number(value)}`,
  'repeated.unique': () => 'no duplicates',
  'map.max_pairs': (value) => `at most ${number(value)} entries`,
};

/** Every time that a Timestamp may hold: says nothing. */
const [FIRST_TIME, LAST_TIME] = ['0001-01-01T00:00:00Z', '9999-12-31T23:59:59Z'];
const BOUNDED = /^(u?int|s?fixed|sint|float|double|duration|timestamp)/;

function between({ gte, lte, gt, lt }: Readonly<Record<string, JsonValue>>): string[] {
  if (gte !== undefined && lte !== undefined) return [`from ${bound(gte)} to ${bound(lte)}`];
  return [
    ...(gte === undefined ? [] : [`at least ${bound(gte)}`]),
    ...(lte === undefined ? [] : [`at most ${bound(lte)}`]),
    ...(gt === undefined ? [] : [`more than ${bound(gt)}`]),
    ...(lt === undefined ? [] : [`less than ${bound(lt)}`]),
  ];
}

/** Of an enum: the name of its value with this number. */
type ValueName = (number: number) => string;

function wordsOf(type: string, [name, value]: Rule, valueName: ValueName): string[] {
  if (name === 'items') return rulesInWords(value, valueName).map((rule) => `each ${rule}`);
  if (type === 'enum' && Array.isArray(value)) {
    const names = value.map((number) => valueName(Number(number)));
    if (name === 'in') return [names.join(' or ')];
    if (name === 'not_in') return names.map((value) => `not ${value}`);
  }
  const words = WORDS[`${type}.${name}`];
  if (words === undefined) throw new Error(`the rule ${type}.${name} has no words in src/dev/api-rules.ts`);
  return [words(value)];
}

function typeRules(type: string, rules: JsonObject, valueName: ValueName): string[] {
  if (!BOUNDED.test(type)) return Object.entries(rules).flatMap((rule) => wordsOf(type, rule, valueName));
  const { gte, lte, gt, lt, ...others } = rules;
  if (gte === FIRST_TIME && lte === LAST_TIME) return [];
  const bounds = Object.fromEntries(Object.entries({ gte, lte, gt, lt }).filter(([, value]) => value !== undefined));
  return [...between(bounds as JsonObject), ...Object.entries(others).flatMap((rule) => wordsOf(type, rule, valueName))];
}

/** The messages of rules written in CEL. */
export function celInWords(rules: JsonValue | undefined): string[] {
  if (!Array.isArray(rules)) return [];
  return rules.map((rule) => {
    const message = isObject(rule) ? rule['message'] : undefined;
    if (typeof message !== 'string' || message === '') throw new Error('a CEL rule has no message to show');
    return message;
  });
}

/** `buf.validate.FieldRules` as JSON with the names of the .proto file -> one phrase per rule. */
export function rulesInWords(fieldRules: JsonValue, valueName: ValueName = String): string[] {
  if (!isObject(fieldRules)) throw new Error('rules are an object');
  const { cel, required, ignore, ...typed } = fieldRules;
  const phrases = Object.entries(typed).flatMap(([type, rules]) => (isObject(rules) ? typeRules(type, rules, valueName) : []));
  return [
    ...(required === true ? ['required'] : []),
    ...(ignore === 'IGNORE_IF_ZERO_VALUE' && phrases.length > 0 ? [`empty or ${phrases[0]}`, ...phrases.slice(1)] : phrases),
    ...(cel === undefined
      ? []
      : [
          `refused with ${celInWords(cel)
            .map((message) => `"${message}"`)
            .join(', ')}`,
        ]),
  ];
}
