import { readFileSync } from 'node:fs';
import type { DescMessage, DescService } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { CacheService } from '../../gen/messaging/v1/cache_service_pb.js';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import { ErrorReason } from '../../gen/messaging/v1/error_reason_pb.js';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { SuppressionService } from '../../gen/messaging/v1/suppression_service_pb.js';
import { rulesInWords } from '../../src/dev/api-rules.ts';

const text = readFileSync('gen/api.md', 'utf8');
const services: readonly DescService[] = [MessageService, ConversationService, ProviderEventService, SuppressionService, CacheService];
/** As GitHub makes them. */
const anchors = new Set(
  [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\w -]/g, '')
      .replaceAll(' ', '-'),
  ),
);

function sectionOf(heading: string): string {
  const start = text.search(new RegExp(`^#+ ${heading.replaceAll('.', '\\.')}$`, 'm'));
  if (start === -1) throw new Error(`there is no section ${heading}`);
  return text.slice(start).split(/\n#+ /)[0] ?? '';
}

function messagesOf({ methods }: DescService): readonly DescMessage[] {
  return methods.flatMap(({ input, output }) => [input, output]);
}

describe('the API reference', () => {
  it.each(services.flatMap((service) => service.methods))('shows $parent.name.$name', ({ parent, name, input, output }) => {
    expect(sectionOf(`${parent.name}.${name}`)).toContain(`rpc ${name}(${input.name}) returns (`);
    expect(anchors).toContain(output.name.toLowerCase());
  });

  it.each(services.flatMap(messagesOf))('shows every field of $name with its number', ({ name, fields }) => {
    const rows = [...sectionOf(name).matchAll(/^\| `(\w+)` \| (\d+) \|/gm)].map(([, field, number]) => `${field} = ${number}`);
    expect(rows).toEqual(fields.map((field) => `${field.name} = ${field.number}`));
  });

  it('shows every error reason with its code', () => {
    const reasons = Object.keys(ErrorReason).filter((name) => Number.isNaN(Number(name)) && name !== 'UNSPECIFIED');
    const rows = [...sectionOf('Errors').matchAll(/^\| `(\w+)` \| [A-Z_]+ \|/gm)].map(([, name]) => name);
    expect(rows).toEqual(reasons);
  });

  it('has only links that lead somewhere', () => {
    const links = [...text.matchAll(/\]\(#([^)]+)\)/g)].map(([, anchor = '']) => anchor);
    expect(links.length).toBeGreaterThan(100);
    expect(links.filter((anchor) => !anchors.has(anchor))).toEqual([]);
  });

  it('shows the rules of a field and of a whole message', () => {
    expect(text).toContain('| empty or a UUID |');
    expect(sectionOf('OutboundMessage')).toContain('- an SMS cannot carry attachments; use MMS');
  });
});

describe('a rule in words', () => {
  it.each([
    [{ string: { min_len: '1', max_len: '1024' }, required: true }, ['required', 'not empty', 'at most 1,024 characters']],
    [{ ignore: 'IGNORE_IF_ZERO_VALUE', string: { uuid: true } }, ['empty or a UUID']],
    [{ duration: { gte: '1s', lte: '300s' } }, ['from 1 s to 300 s']],
    [{ int32: { gte: 0 } }, ['at least 0']],
    [{ repeated: { max_items: '8', items: { enum: { not_in: [0] } } } }, ['at most 8', 'each not value 0']],
    [{ timestamp: { gte: '0001-01-01T00:00:00Z', lte: '9999-12-31T23:59:59Z' } }, []],
    [{ cel: [{ id: 'x', message: 'must be good' }] }, ['refused with "must be good"']],
  ])('of %j', (rules, words) => {
    expect(rulesInWords(rules, (number) => `value ${number}`)).toEqual(words);
  });

  it('is missing for a new kind of rule, which stops the generator', () => {
    expect(() => rulesInWords({ string: { hostname: true } })).toThrow('string.hostname has no words');
  });
});
