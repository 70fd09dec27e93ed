"""A server on stdio that does as it is told: by the names of tools, and by its arguments.

--crash       ends at once with exit code 7
--deaf        answers no `initialize`
--stubborn    takes no notice of SIGTERM or of the end of its input
--trace FILE  writes each message that it gets to FILE
"""

import json
import os
import signal
import subprocess
import sys
import time

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


def say(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def note(method, params):
    say({"method": method, "params": params})


def call(message, listens, asks):
    params, id = message["params"], message["id"]
    token = params.get("_meta", {}).get("progressToken")
    arguments = params.get("arguments", {})
    match params["name"]:
        case "echo":
            return {"got": arguments, "pid": os.getpid()}
        case "names":
            return {"id": id, "token": token}
        case "progress":
            for step in range(2):
                note("notifications/progress", {"progressToken": token, "progress": step})
        case "log":
            note("notifications/message", {"level": "info", "data": arguments})
        case "burst":
            for step in range(arguments["count"]):
                data = f"{step}:" + "x" * arguments["size"]
                note("notifications/message", {"level": "info", "data": data})
        case "later":
            say({"id": id, "result": {}})
            note("notifications/tools/list_changed", {})
            return None
        case "ask":
            asks[0] = id
            say({"id": 0, "method": arguments["method"], "params": {}})
            return None
        case "change":
            for listen in listens:
                note("notifications/tools/list_changed", {"_meta": {SUBSCRIPTION: listen}})
        case "unsubscribe":
            while listens:
                note("notifications/cancelled", {"requestId": listens.pop()})
        case "hang":
            return None
        case "sleep":
            time.sleep(arguments["seconds"])
        case "die":
            os._exit(3)
        case "kin":
            kin = subprocess.Popen(["sleep", "1000"])
            return {"pid": kin.pid}
        case "huge":
            return {"text": "x" * arguments["size"]}
        case "noise":
            sys.stdout.write("starting up\n[1]\n")
        case "odd":
            say({"id": id, "result": {}, "extra": 1})
            return None
        case "garbage":
            sys.stdout.write(f'{{"jsonrpc":"2.0","id":{json.dumps(id)},"result":{{"a":NaN}}}}\n')
            sys.stdout.flush()
            return None
    return {}


def main():
    arguments = sys.argv[1:]
    if "--crash" in arguments:
        sys.exit(7)
    if "--stubborn" in arguments:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    trace = None
    if "--trace" in arguments:
        trace = open(arguments[arguments.index("--trace") + 1], "a")
    listens, asks = [], [None]
    for line in sys.stdin:
        if trace:
            trace.write(line)
            trace.flush()
        message = json.loads(line)
        method, id = message.get("method"), message.get("id")
        if method is None:
            say({"id": asks[0], "result": {"answered": message}})
        elif id is None:
            pass
        elif method == "initialize" and "--deaf" in arguments:
            pass
        elif method == "initialize":
            if message["params"]["protocolVersion"] == "1999-01-01":
                say({"id": id, "error": {"code": -32602, "message": "too old"}})
                continue
            note("notifications/message", {"level": "info", "data": "early"})
            server = {"name": "fake", "version": str(os.getpid())}
            version = message["params"]["protocolVersion"]
            result = {"protocolVersion": version, "capabilities": {}, "serverInfo": server}
            say({"id": id, "result": result})
        elif method == "subscriptions/listen":
            listens.append(id)
            note("notifications/subscriptions/acknowledged", {"_meta": {SUBSCRIPTION: id}})
        elif method == "server/discover":
            say({"id": id, "result": {"supportedVersions": ["2026-07-28"]}})
        elif method == "tools/list":
            region = {"type": "string", "x-mcp-header": "Region"}
            schema = {"type": "object", "properties": {"region": region}}
            say({"id": id, "result": {"tools": [{"name": "names", "inputSchema": schema}]}})
        elif method == "tools/call":
            result = call(message, listens, asks)
            if result is not None:
                say({"id": id, "result": result})
        else:
            say({"id": id, "error": {"code": -32601, "message": "Method not found"}})
    if "--stubborn" in arguments:
        time.sleep(1000)


main()
