"""Calls one unary method with Python's own gRPC and protobuf, which share no code with the service.

usage: python_client.py DESCRIPTOR_SET ADDRESS SERVICE METHOD TIMEOUT_SECONDS HEADERS_AS_JSON < request.json

Prints {"response": ..., "headers": ...} or {"code": ..., "message": ..., "details": [...]}. Headers include trailers; those whose
name ends in -bin are bytes, here in base64.
"""

import base64
import json
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory


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


def decoded(name, text):
    return base64.b64decode(text + "=" * (-len(text) % 4)) if name.endswith("-bin") else text


def encoded(value):
    return base64.b64encode(value).decode().rstrip("=") if isinstance(value, bytes) else value


def call(descriptor_set, address, service, method, timeout, headers):
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
            metadata = [(name, decoded(name, text)) for name, text in json.loads(headers).items()]
            answer, call_state = unary.with_call(request, timeout=float(timeout), metadata=metadata)
        except grpc.RpcError as error:
            return {"code": error.code().name, "message": error.details(), "details": details_of(error, pool)}
        received = [*call_state.initial_metadata(), *call_state.trailing_metadata()]
        return {
            "response": json_format.MessageToDict(answer, descriptor_pool=pool),
            "headers": {name: encoded(value) for name, value in received},
        }


print(json.dumps(call(*sys.argv[1:])))
