import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { MessageType as MessageTypeProto } from '../../gen/messaging/v1/message_pb.js';
import { ListSuppressionsRequestSchema, type SuppressionService } from '../../gen/messaging/v1/suppression_service_pb.js';
import type { createManageSuppressions, SuppressionName } from '../services/manage-suppressions.ts';
import { filterDigest, nextPageToken, pageRequestOf } from './page-token.ts';
import { channelOf } from './requests.ts';

export interface SuppressionServiceOptions {
  readonly manageSuppressions: ReturnType<typeof createManageSuppressions>;
}

interface NamesSuppression {
  readonly address: string;
  readonly channelType: MessageTypeProto;
  readonly fromAddress: string;
}

const nameOf = ({ address, channelType, fromAddress }: NamesSuppression): SuppressionName => {
  return { address, channel: channelOf(channelType, 'channel_type'), fromAddress };
};

export function suppressionService({ manageSuppressions }: SuppressionServiceOptions): ServiceImpl<typeof SuppressionService> {
  return {
    async getSuppression({ address }) {
      return { suppressions: [...(await manageSuppressions.of(address))] };
    },

    async listSuppressions(request) {
      const { channelType } = request;
      const channel = channelType === MessageTypeProto.UNSPECIFIED ? undefined : channelOf(channelType, 'channel_type');
      const digest = filterDigest(ListSuppressionsRequestSchema, create(ListSuppressionsRequestSchema, { channelType }));
      const page = await manageSuppressions.list(channel, pageRequestOf(request, digest));
      return { suppressions: [...page.items], nextPageToken: nextPageToken(page, digest) };
    },

    async createSuppression(request) {
      return { suppression: await manageSuppressions.create(nameOf(request)) };
    },

    async deleteSuppression(request) {
      await manageSuppressions.delete(nameOf(request));
      return {};
    },
  };
}
