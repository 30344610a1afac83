# SPDX-License-Identifier: MIT
"""Plays requests to a storage daemon, QEMU's or ours, and gives the replies in
a form that can be compared: for qsd-record and test-qsd-recorded."""

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile

TIMEOUT = 60


def replace_text(value, old, new):
    """value with old replaced in all strings and keys."""
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, list):
        return [replace_text(item, old, new) for item in value]
    if isinstance(value, dict):
        return {replace_text(key, old, new): replace_text(item, old, new)
                for key, item in value.items()}
    return value


def plain_names(value):
    """Generated node names are no part of what is promised, nor is the order
    of members in a file name that is JSON."""
    if isinstance(value, str) and value.startswith("json:{"):
        options = plain_names(json.loads(value[len("json:"):]))
        return "json:" + json.dumps(options, sort_keys=True)
    if isinstance(value, str):
        return re.sub(r"#block\d+", "#block", value)
    if isinstance(value, list):
        return [plain_names(item) for item in value]
    if isinstance(value, dict):
        return {key: plain_names(item) for key, item in value.items()
                if key not in ("timestamp", "actual-size")}
    return value


def name_ids(graph):
    """Ids of the graph query mean something inside one reply only: here edges
    name what they join, and the order is of no matter."""
    names = {node["id"]: [node["type"], node["name"]]
             for node in graph["nodes"]}
    for node in graph["nodes"]:
        del node["id"]
    for edge in graph["edges"]:
        edge["parent"] = names[edge["parent"]]
        edge["child"] = names[edge["child"]]
        edge["perm"].sort()
        edge["shared-perm"].sort()
    graph["nodes"].sort(key=json.dumps)
    graph["edges"].sort(key=lambda edge: json.dumps(edge, sort_keys=True))


def comparable(request, got):
    """The replies to a request without what differs from run to run."""
    command = request.get("execute") if isinstance(request, dict) else None
    for message in got:
        result = message.get("return")
        if command == "x-debug-query-block-graph" and result:
            name_ids(result)
        elif isinstance(result, list) and command != "query-commands":
            # lists of things with names: the order is of no matter
            result.sort(key=lambda item: [str(item.get(key)) for key in (
                "node-name", "id", "label", "name")])
    return plain_names(got)


class Connection:
    def __init__(self, sock):
        self.socket = sock
        self.socket.settimeout(TIMEOUT)
        self.file = sock.makefile("rb")
        self.asked = 0

    def receive(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError("closed by the daemon")
        return json.loads(line)

    def ask(self, request):
        """All that is answered to a request, events and replies. What ends
        it is the reply to a command that changes nothing."""
        text = request if isinstance(request, str) else json.dumps(
            request, ensure_ascii=False)
        self.asked += 1
        mark = f"mark {self.asked}"
        self.socket.sendall(text.encode(errors="surrogateescape") + b"\n" +
                            json.dumps({"execute": "mark", "id": mark})
                            .encode() + b"\n")
        got = []
        while True:
            message = self.receive()
            if message.get("id") == mark:
                return got
            got.append(message)


def play(command, setup, requests, negotiate, look=None):
    """The replies to each request, from a daemon started with command. Each is
    looked at before it is made comparable."""
    where = tempfile.mkdtemp(prefix="blkgraph-")
    listener = socket.socket(socket.AF_UNIX)
    process = None
    try:
        for argv in setup:
            subprocess.run(replace_text(argv, "$DIR", where), check=True)
        path = os.path.join(where, "monitor")
        listener.bind(path)
        listener.listen()
        listener.settimeout(TIMEOUT)
        process = subprocess.Popen(
            [*command, "--chardev", f"socket,id=mon,path={path}",
             "--monitor", "mon"], stdin=subprocess.DEVNULL, cwd=where)
        connection = Connection(listener.accept()[0])
        assert "QMP" in connection.receive()
        if negotiate:
            connection.ask({"execute": "qmp_capabilities"})
        replies = []
        for request in requests:
            got = connection.ask(replace_text(request, "$DIR", where))
            for message in got if look else []:
                look(replace_text(request, "$DIR", where), message)
            replies.append(replace_text(comparable(request, got), where,
                                        "$DIR"))
        return replies
    finally:
        listener.close()
        if process:
            process.kill()
            process.wait()
        shutil.rmtree(where, ignore_errors=True)
