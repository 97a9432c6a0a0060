"""Sends a message and watches it until it is delivered, with stubs that were generated from the proto bundle (`make protos`).

usage: send_and_watch.py ADDRESS [--ca FILE --cert FILE --key FILE] [--from ADDRESS] [--to ADDRESS] [--body TEXT]

Without --ca it speaks cleartext. Exits with 0 when the message was delivered, with 1 when it failed or was refused. Shows what a client
in any language has to do beside calling: a deadline, a request_id so that a repeated call sends nothing twice, and a resume token so that
a watch that is interrupted goes on where it was.
"""

import argparse
import sys
import time
import uuid

import grpc
from google.rpc import error_details_pb2, status_pb2
from messaging.v1 import message_pb2, message_service_pb2, message_service_pb2_grpc

CALL_TIMEOUT_SECONDS = 5
WATCH_TIMEOUT_SECONDS = 120
ATTEMPTS = 8


def read(path):
    with open(path, "rb") as file:
        return file.read()


def channel_to(options):
    # A peer that gives no sign of life is noticed while nothing is sent.
    settings = [("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000)]
    if options.ca is None:
        return grpc.insecure_channel(options.address, settings)
    key, cert = (options.key and read(options.key)), (options.cert and read(options.cert))
    return grpc.secure_channel(options.address, grpc.ssl_channel_credentials(read(options.ca), key, cert), settings)


def reason_of(error):
    """The reason and facts that every error of the service carries, as (reason, facts)."""
    for name, value in error.trailing_metadata() or ():
        if name != "grpc-status-details-bin":
            continue
        for detail in status_pb2.Status.FromString(value).details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return info.reason, dict(info.metadata)
    return "", {}


def send(stub, message):
    # The same id in every attempt: however often it arrives, one message is sent.
    request = message_service_pb2.SendMessageRequest(message=message, request_id=str(uuid.uuid4()))
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return stub.SendMessage(request, timeout=CALL_TIMEOUT_SECONDS).message
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE or attempt == ATTEMPTS:
                raise
            time.sleep(0.05 * 2**attempt)


def states(stub, message):
    """The message as it is now and after each change, until the caller stops asking."""
    request = message_service_pb2.WatchMessagesRequest(include_initial_state=True)
    request.filter.conversation_ids.append(message.conversation_id)
    while True:
        try:
            for item in stub.WatchMessages(request, timeout=WATCH_TIMEOUT_SECONDS):
                if item.HasField("change") and item.change.message.id == message.id:
                    yield item.change.message
                request.resume_token = item.resume_token
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            time.sleep(0.5)


def main(options):
    message = message_service_pb2.OutboundMessage(from_address=options.sender, to_address=options.to, body=options.body)
    with channel_to(options) as channel:
        stub = message_service_pb2_grpc.MessageServiceStub(channel)
        sent = send(stub, message)
        print(f"sent {sent.id}", flush=True)
        status = None
        for current in states(stub, sent):
            if current.status == status:
                continue
            status = current.status
            print(message_pb2.MessageStatus.Name(status), flush=True)
            if status == message_pb2.MESSAGE_STATUS_DELIVERED:
                return 0
            if status == message_pb2.MESSAGE_STATUS_FAILED:
                return 1


def arguments():
    parser = argparse.ArgumentParser(description="Sends a message and watches it until it is delivered.")
    parser.add_argument("address", help="host:port of the service")
    parser.add_argument("--ca", help="PEM file of the authority that signed the server's certificate")
    parser.add_argument("--cert", help="PEM file of the certificate that names this client")
    parser.add_argument("--key", help="PEM file of its key")
    parser.add_argument("--from", dest="sender", default="+14155552671")
    parser.add_argument("--to", default="+14155552672")
    parser.add_argument("--body", default="Hello from Python")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main(arguments()))
    except grpc.RpcError as failure:
        reason, facts = reason_of(failure)
        sys.exit(f"{failure.code().name} {reason}: {failure.details()} {facts or ''}".strip())
