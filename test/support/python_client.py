"""Calls one unary method with Python's own gRPC and protobuf, which share no code with the service.

usage: python_client.py DESCRIPTOR_SET ADDRESS SERVICE METHOD < request.json

Prints {"response": ..., "headers": ...} or {"code": ..., "message": ..., "details": [...]}.
"""

import json
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

# Beyond what a call can take on a busy test machine; a call that hangs fails with DEADLINE_EXCEEDED.
TIMEOUT_SECONDS = 20


def pool_of(path):
    files = descriptor_pb2.FileDescriptorSet()
    with open(path, "rb") as file:
        files.ParseFromString(file.read())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


def class_of(descriptor):
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(descriptor.file.pool).GetPrototype(descriptor)


def details_of(error, pool):
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            status = class_of(pool.FindMessageTypeByName("google.rpc.Status"))()
            status.ParseFromString(value)
            return [json_format.MessageToDict(detail, descriptor_pool=pool) for detail in status.details]
    return []


def call(descriptor_set, address, service, method):
    pool = pool_of(descriptor_set)
    rpc = pool.FindServiceByName(service).FindMethodByName(method)
    request = json_format.Parse(sys.stdin.read(), class_of(rpc.input_type)(), descriptor_pool=pool)
    answer_class = class_of(rpc.output_type)
    with grpc.insecure_channel(address) as channel:
        unary = channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer_class.FromString,
        )
        try:
            answer, call_state = unary.with_call(request, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            return {"code": error.code().name, "message": error.details(), "details": details_of(error, pool)}
        headers = {name: value for name, value in call_state.initial_metadata() if not name.endswith("-bin")}
        return {"response": json_format.MessageToDict(answer, descriptor_pool=pool), "headers": headers}


print(json.dumps(call(*sys.argv[1:])))
