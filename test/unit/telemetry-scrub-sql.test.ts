import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { scrubSql, summarizeSql } from '../../src/telemetry/scrub-sql.ts';

/** Each way to write a value into a statement, as PostgreSQL reads it. */
const literal = fc.oneof(
  fc.string({ unit: 'binary' }).map((value) => `'${value.replaceAll("'", "''")}'`),
  fc.string({ unit: 'binary' }).map((value) => `E'${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`),
  fc.string({ unit: 'binary' }).map((value) => `e'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`),
  fc.string({ unit: 'binary' }).map((value) => `$body$${value.replaceAll('$', '')}$body$`),
  fc.string({ unit: 'binary' }).map((value) => `$$${value.replaceAll('$', '')}$$`),
  fc.bigInt({ min: 0n }).map(String),
  fc.double({ min: 0, noNaN: true, noDefaultInfinity: true }).map(String),
);

/** What stays: keywords, operators, identifiers that try to look like the start of a literal, placeholders. */
const kept = fc.constantFrom(
  ...['select ', ' from ', '"m0"."body" = ', ' and ', '::jsonb ', ', ', '(', ') ', '$1 ', '$12, ', ' -> ', 'date ', 'e ', 'x1 '],
  ...['"it\'s ""odd"" 42" ', '"$$" ', 'a$b$c ', ' || ', '- ', 'message_2 '],
);

describe('scrubSql', () => {
  test('replaces every literal and nothing else', () => {
    const parts = fc.array(fc.record({ before: kept, value: literal, after: kept }), { maxLength: 8 });
    fc.assert(
      fc.property(parts, (chosen) => {
        const statement = chosen.map(({ before, value, after }) => `${before} ${value} ${after}`).join(' ');
        fc.pre(statement.length < 8_000);
        expect(scrubSql(statement)).toBe(chosen.map(({ before, after }) => `${before} ? ${after}`).join(' '));
      }),
      { numRuns: 2_000 },
    );
  });

  test.each([
    ['select * from "m" where "id" = $1 and n = 42', 'select * from "m" where "id" = $1 and n = ?'],
    [String.raw`values ( E'it''s \\ \'x\' 5', 'a''b')`, 'values ( ?, ?)'],
    [`select'x'||date'2026-01-01'`, 'select?||date?'],
    ['select $tag$ it\'s $1 $$ "x" $tag$, $2', 'select ?, $2'],
    [`select 1 -- it's a comment\n, 'x'`, 'select ?  \n, ?'],
    [`select 1 /* a /* b */ don't */, 'x'`, 'select ?  '],
    [`B'01' X'ff' N'n' U&'\\0041'`, '? ? ? ?'],
    ['0x1F 1_000 1.5e-10 .5 col1 t2.c3', '? ? ? ? col1 t2.c3'],
    [`'never closed 42`, '?'],
  ])('%s', (statement, scrubbed) => {
    expect(scrubSql(statement)).toBe(scrubbed);
  });

  test('cuts a long statement inside a literal without showing it', () => {
    expect(scrubSql(`insert into message (body) values ('${'secret '.repeat(1_000_000)}')`)).toBe('insert into message (body) values (? …');
  });
});

describe('summarizeSql', () => {
  test.each([
    ['select "m0".* from "message" as "m0" where x = ?', 'SELECT message'],
    ['insert into "messaging"."conversation" ("id") values (?)', 'INSERT messaging.conversation'],
    ['update only conversation set x = ?', 'UPDATE conversation'],
    ['delete\n  from message', 'DELETE message'],
    ['with m as (insert into messages (x) values (?)) insert into "message_events" values (?)', 'INSERT messages INSERT message_events'],
    ['with m as (select ? from message for update) select x from m', 'WITH message'],
    ['begin', 'BEGIN'],
    ['select?', 'SELECT'],
    ['?', 'query'],
  ])('%s is %s', (statement, summary) => {
    expect(summarizeSql(statement)).toBe(summary);
  });
});
