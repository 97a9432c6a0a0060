/** Who may call what. A method without an entry does not compile, and a service without one does not start. */
import { Health } from '../../gen/grpc/health/v1/health_pb.js';
import { ServerReflection as ServerReflectionV1 } from '../../gen/grpc/reflection/v1/reflection_pb.js';
import { ServerReflection as ServerReflectionV1Alpha } from '../../gen/grpc/reflection/v1alpha/reflection_pb.js';
import { CacheService } from '../../gen/messaging/v1/cache_service_pb.js';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { SuppressionService } from '../../gen/messaging/v1/suppression_service_pb.js';
import { fullName } from './endpoint.ts';

/** `caller`: a service that sends and reads messages. `gateway`: what tells of providers' events by RPC. `operator`: who runs this service. */
export type Role = 'caller' | 'gateway' | 'operator';

/** `anyone`: without credentials, too. `known`: with credentials, whatever their roles. */
export type Access = 'anyone' | 'known' | readonly Role[];

type Service = Pick<typeof MessageService, 'typeName' | 'methods'> & { readonly method: object };

function policyOf<S extends Service>(
  { methods }: S,
  access: Readonly<Record<keyof S['method'], Access>>,
): readonly (readonly [string, Access])[] {
  return methods.map((method) => [fullName(method), access[method.localName as keyof S['method']]]);
}

/** Sends and changes in the name of a service: an operator who has to needs that role, too. */
const CALLERS = ['caller'] as const;
/** Reads, and what mends: an operator looks into what callers did, and helps. */
const CALLERS_AND_OPERATORS = ['caller', 'operator'] as const;
const GATEWAYS_AND_OPERATORS = ['gateway', 'operator'] as const;
const OPERATORS = ['operator'] as const;

const POLICY: ReadonlyMap<string, Access> = new Map([
  ...policyOf(MessageService, {
    sendMessage: CALLERS,
    batchSendMessages: CALLERS,
    previewMessage: CALLERS_AND_OPERATORS,
    getMessage: CALLERS_AND_OPERATORS,
    batchGetMessages: CALLERS_AND_OPERATORS,
    listMessages: CALLERS_AND_OPERATORS,
    listMessageEvents: CALLERS_AND_OPERATORS,
    cancelMessage: CALLERS_AND_OPERATORS,
    retryMessage: CALLERS_AND_OPERATORS,
    watchMessages: CALLERS_AND_OPERATORS,
  }),
  ...policyOf(ConversationService, {
    createConversation: CALLERS,
    getConversation: CALLERS_AND_OPERATORS,
    batchGetConversations: CALLERS_AND_OPERATORS,
    listConversations: CALLERS_AND_OPERATORS,
    searchConversations: CALLERS_AND_OPERATORS,
    updateConversation: CALLERS,
    markConversationRead: CALLERS,
    archiveConversation: CALLERS_AND_OPERATORS,
    reopenConversation: CALLERS_AND_OPERATORS,
    closeConversation: CALLERS_AND_OPERATORS,
    deleteConversation: CALLERS_AND_OPERATORS,
    getConversationStatistics: CALLERS_AND_OPERATORS,
    watchConversations: CALLERS_AND_OPERATORS,
  }),
  ...policyOf(ProviderEventService, {
    receiveMessage: GATEWAYS_AND_OPERATORS,
    reportDelivery: GATEWAYS_AND_OPERATORS,
    getWebhookRequest: OPERATORS,
    listWebhookRequests: OPERATORS,
    replayWebhookRequest: OPERATORS,
  }),
  ...policyOf(SuppressionService, {
    getSuppression: CALLERS_AND_OPERATORS,
    listSuppressions: CALLERS_AND_OPERATORS,
    createSuppression: CALLERS_AND_OPERATORS,
    deleteSuppression: CALLERS_AND_OPERATORS,
  }),
  ...policyOf(CacheService, {
    getCacheStatistics: OPERATORS,
    inspectCacheEntry: OPERATORS,
    invalidateCache: OPERATORS,
    warmCache: OPERATORS,
  }),
  // Probes and load balancers bring no credentials, and learn nothing but whether this process serves.
  ...policyOf(Health, { check: 'anyone', list: 'anyone', watch: 'anyone' }),
  // The contract is no secret among those who call; a stranger needs neither it nor a stream that stays open.
  ...policyOf(ServerReflectionV1, { serverReflectionInfo: 'known' }),
  ...policyOf(ServerReflectionV1Alpha, { serverReflectionInfo: 'known' }),
]);

/** Throws for a method that the table does not name, `messaging.v1.MessageService/GetMessage`. */
export function accessOf(method: string): Access {
  const access = POLICY.get(method);
  if (access === undefined) throw new Error(`no policy says who may call ${method}; see rpc/policy.ts`);
  return access;
}

/** What is asked of no caller, whoever it is: true of what is open to all. */
export const isOpen = (method: string): boolean => POLICY.get(method) === 'anyone';

/** The methods that the table names. */
export const governedMethods = (): readonly string[] => [...POLICY.keys()];
