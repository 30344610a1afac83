# SPDX-License-Identifier: MIT
"""What the NBD tests share: a daemon that serves an image, tools that are run
against it, and a client of the protocol's bytes for what no tool sends."""

import os
import socket
import struct
import subprocess
import sys

from blackbox import TIMEOUT, Daemon

# the library's Python is the system's
SYSTEM_PYTHON = "/usr/bin/python3"

OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_STARTTLS = 1, 2, 3, 5
OPT_INFO, OPT_GO, OPT_STRUCTURED, OPT_LIST_META, OPT_SET_META = 6, 7, 8, 9, 10
OPT_EXTENDED = 11
ERR = 1 << 31
ERR_UNSUP, ERR_POLICY, ERR_INVALID = ERR | 1, ERR | 2, ERR | 3
ERR_TLS_REQD, ERR_UNKNOWN = ERR | 5, ERR | 6
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD = 1, 2, 4, 8, 16, 32
EPERM, EIO, EINVAL, ENOSPC, ENOTSUP = 1, 5, 22, 28, 95


class Server(Daemon):
    """A daemon with an NBD server on a Unix socket."""

    def __init__(self, *options, **start):
        super().__init__(*options)
        self.start_options = start

    def start(self):
        super().start()
        self.client = self.connect()
        self.nbd = self.file("nbd")
        self.serve(**self.start_options)
        return self

    def serve(self, **more):
        self.client.call("nbd-server-start", addr={
            "type": "unix", "data": {"path": self.nbd}}, **more)

    def node(self, path, fmt="qcow2", name="n", direct=True, **more):
        self.client.call("blockdev-add", driver=fmt, node_name=name,
                         discard="unmap", **more,
                         file={"driver": "file", "filename": path,
                               "discard": "unmap",
                               "cache": {"direct": direct}})

    def export(self, node="n", name=None, **more):
        more.setdefault("writable", True)
        self.client.call("block-export-add", type="nbd", id=name or node,
                         node_name=node, name=name or node, **more)
        return self.uri(name or node)

    def uri(self, name):
        return f"nbd+unix:///{name}?socket={self.nbd}"

    def disk(self, size="64M", fmt="qcow2", **more):
        self.node(self.image("disk." + fmt, size, fmt), fmt)
        return self.export(**more)


def tool(*command, status=0, **more):
    """Runs it; its output. Text where it is some."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=TIMEOUT, **more)
    out = done.stdout.decode(errors="replace")
    text = out + done.stderr.decode(errors="replace")
    assert done.returncode == status, f"{command}: {text}"
    return out if status == 0 else text


def nbdsh(uri, script, *options):
    return tool(SYSTEM_PYTHON, "-c",
                "import nbd, sys\nh = nbd.NBD()\n" + script, uri, *options)


def certtool(folder, name, template, *more, key="ecdsa"):
    path = os.path.join(folder, name)
    with open(path + ".tmpl", "w") as file:
        file.write(template)
    tool("certtool", "--generate-privkey", f"--key-type={key}",
         "--outfile", path + "-key.pem")
    tool("certtool", "--load-privkey", path + "-key.pem", "--template",
         path + ".tmpl", "--outfile", path + "-cert.pem", *more)


def authority(folder, key="ecdsa"):
    """A folder with certificates, named as QEMU names them."""
    os.mkdir(folder)
    certtool(folder, "ca", "cn = test\nca\ncert_signing_key\n",
             "--generate-self-signed")
    for name, template in [
            ("server", 'cn = localhost\ndns_name = localhost\n'
             'ip_address = 127.0.0.1\ntls_www_server\n'
             'encryption_key\nsigning_key\n'),
            ("client", "cn = client\ntls_www_client\nencryption_key\n"
             "signing_key\n")]:
        certtool(folder, name, template, "--generate-certificate",
                 "--load-ca-certificate", folder + "/ca-cert.pem",
                 "--load-ca-privkey", folder + "/ca-key.pem", key=key)
    return folder


class Raw:
    """A connection whose every byte is the test's."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(path)
        self.extended = False
        self.cookie = 0

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, length):
        data = b""
        while len(data) < length:
            piece = self.socket.recv(length - len(data))
            if not piece:
                raise EOFError(f"{len(data)} of {length} bytes")
            data += piece
        return data

    def ended(self):
        """The server has closed, whatever it sent before."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True

    def greet(self, flags=3):
        magic, option_magic, theirs = struct.unpack(
            ">QQH", self.receive(18))
        assert magic == 0x4e42444d41474943
        assert option_magic == 0x49484156454f5054
        assert theirs == 3
        self.send(struct.pack(">I", flags))
        return self

    def option(self, number, data=b"", length=None):
        self.send(struct.pack(">QII", 0x49484156454f5054, number,
                              len(data) if length is None else length) + data)

    def replies(self):
        """All replies to one option: [(type, data)]."""
        got = []
        while True:
            magic, _, kind, length = struct.unpack(">QIII", self.receive(20))
            assert magic == 0x3e889045565a9
            got.append((kind, self.receive(length)))
            if kind == 1 or kind & ERR:
                return got

    def ask(self, number, data=b""):
        self.option(number, data)
        return self.replies()

    def go(self, name="n"):
        name = name.encode()
        got = self.ask(OPT_GO, struct.pack(">I", len(name)) + name +
                       struct.pack(">H", 0))
        assert got[-1][0] == 1, got
        info = [data for kind, data in got if data[:2] == b"\0\0"]
        self.size, self.flags = struct.unpack(">QH", info[0][2:])
        return self

    def start(self, *options, name="n"):
        self.greet()
        for number in options:
            assert self.ask(number)[-1][0] == 1
        self.extended = OPT_EXTENDED in options
        self.structured = self.extended or OPT_STRUCTURED in options
        return self.go(name)

    def meta(self, *contexts, name="n"):
        data = struct.pack(">I", len(name)) + name.encode()
        data += struct.pack(">I", len(contexts))
        for context in contexts:
            data += struct.pack(">I", len(context)) + context.encode()
        return self.ask(OPT_SET_META, data)

    def request(self, kind, offset=0, length=0, flags=0, payload=b""):
        self.cookie += 1
        magic, size = ((0x21e41c71, "Q") if self.extended else
                       (0x25609513, "I"))
        self.send(struct.pack(">IHHQQ" + size, magic, flags, kind,
                              self.cookie, offset, length) + payload)
        return self.cookie

    def simple(self):
        magic, error, cookie = struct.unpack(">IIQ", self.receive(16))
        assert magic == 0x67446698, hex(magic)
        return error, cookie

    def chunk(self):
        """(flags, type, cookie, offset or None, data)"""
        if self.extended:
            magic, flags, kind, cookie, offset, length = struct.unpack(
                ">IHHQQQ", self.receive(32))
            assert magic == 0x6e8a278c, hex(magic)
        else:
            magic, flags, kind, cookie, length = struct.unpack(
                ">IHHQI", self.receive(20))
            assert magic == 0x668e33ef, hex(magic)
            offset = None
        return flags, kind, cookie, offset, self.receive(length)

    def close(self):
        self.socket.close()


def alive(server, name="n"):
    """Others go on: a well-behaved client is served."""
    tool("nbdinfo", "--size", server.uri(name))


if not os.path.exists(SYSTEM_PYTHON):
    SYSTEM_PYTHON = sys.executable
