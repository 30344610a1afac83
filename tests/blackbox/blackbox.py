# SPDX-License-Identifier: MIT
"""What the black box tests share: a daemon of their own, a client of its
protocol, the command line, and counting.

A test is a function whose name begins with "test_"; run(globals()) runs all of
a file in order and prints what tests/run reads. BLKGRAPH_BUILD says which
build is tested.
"""

import contextlib
import ctypes
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

import schema

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
BUILD = os.path.join(TOP, os.environ.get("BLKGRAPH_BUILD", "build/gcc"))
# generous: the machine may be busy and the build a slow one
TIMEOUT = 60

# A44: on a name's way through JSON each byte of these could be lost, taken for
# another, or cut what stands for one: no UTF-8, UTF-8 that is no character, half
# of a pair, an escape as letters
ODD_NAMES = [os.fsdecode(name) for name in (
    b"x\xffy", b"\xc3(", b"\xed\xb3\xbf", b"\xef\xb7\x98\xef\xb7\xa0",
    b"\\udcff\xfe\"", b"\xc3\xa9\x80\xf0\x9f\x98\x80\xf0\x9f")]


class Skip(Exception):
    pass


@functools.cache
def described():
    """What is to be true of every message that a test sees."""
    return schema.of(BUILD)


class QmpError(Exception):
    def __init__(self, error):
        super().__init__(error["desc"])
        self.cls = error["class"]
        self.desc = error["desc"]
        self.errno = error.get("errno")
        self.more = error.get("more", "")


class Client:
    """One connection to a control socket: a path, or host and port."""

    def __init__(self, path, negotiate=True):
        self.socket = socket.socket(
            socket.AF_INET if isinstance(path, tuple) else socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")
        self.events = []
        self.greeting = self.receive()
        if negotiate:
            self.call("qmp_capabilities", enable=["errno"])

    def send_raw(self, data):
        self.socket.sendall(data)

    def receive(self):
        line = self.file.readline()
        return json.loads(line) if line else None

    def reply(self):
        while True:
            message = self.receive()
            if message is None or "event" not in message:
                return message
            described().fits_message(message)
            self.events.append(message)

    @staticmethod
    def message(command, arguments):
        message = {"execute": command}
        if arguments:
            message["arguments"] = {name.replace("_", "-"): value
                                    for name, value in arguments.items()}
        return message

    def send(self, command, **arguments):
        self.send_raw(json.dumps(self.message(command, arguments)).encode())

    def call(self, command, **arguments):
        self.send(command, **arguments)
        reply = self.reply()
        if reply is None:
            raise ConnectionError("closed by the daemon")
        described().fits_message(
            reply, command, self.message(command, arguments).get("arguments"))
        if "error" in reply:
            raise QmpError(reply["error"])
        return reply["return"]

    def nodes(self):
        return {node["node-name"]: node
                for node in self.call("query-named-block-nodes", flat=True)}

    def close(self):
        self.file.close()
        self.socket.close()


class Daemon:
    """A blkgraphd with a directory of its own; use it as a context. through:
    the command that becomes it."""

    def __init__(self, *options, expect_exit=None, through=()):
        self.dir = tempfile.mkdtemp(prefix="blkgraph-")
        self.path = os.path.join(self.dir, "s")
        self.state = self.path + ".state"
        self.options = options
        self.expect_exit = expect_exit
        self.through = through
        self.process = None
        self.log = ""

    def start(self):
        self.process = subprocess.Popen(
            [*self.through, os.path.join(BUILD, "blkgraphd"), "--socket",
             self.path, "--threads", "2", *self.options],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, cwd=self.dir)
        self.wait_log("Serving on")
        return self

    def wait_log(self, text):
        """Reads the log up to a line with text, and gives that line."""
        for line in self.process.stderr:
            line = line.decode(errors="replace")
            self.log += line
            if text in line:
                return line
        raise AssertionError(f"no '{text}' in the log:\n{self.log}")

    def connect(self, negotiate=True):
        return Client(self.path, negotiate)

    def file(self, name):
        return os.path.join(self.dir, name)

    def image(self, name, size="64M", fmt="qcow2", *more):
        path = self.file(name)
        subprocess.run(["qemu-img", "create", "-q", "-f", fmt, *more, path,
                        size], check=True)
        return path

    def kill(self, signo=signal.SIGKILL):
        self.process.send_signal(signo)
        return self.wait()

    def wait(self):
        self.log += self.process.stderr.read().decode(errors="replace")
        return self.process.wait(TIMEOUT)

    def quit(self):
        client = self.connect()
        client.call("quit")
        assert client.receive() is None
        client.close()
        return self.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        try:
            if self.process.poll() is None and kind is None:
                status = self.quit()
                assert status == 0, f"status {status}:\n{self.log}"
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if kind is not None:
                self.log += self.process.stderr.read().decode(
                    errors="replace")
                print(self.log)
            shutil.rmtree(self.dir, ignore_errors=True)
        assert "Sanitizer" not in self.log, self.log
        assert "runtime error" not in self.log, self.log


class Cli:
    """Runs blkgraph against a socket in a directory of its own."""

    def __init__(self, daemon=None):
        self.dir = daemon.dir if daemon else tempfile.mkdtemp(
            prefix="blkgraph-")
        self.path = os.path.join(self.dir, "s")
        self.own = daemon is None

    def run(self, *arguments, cwd=None, env=None, pass_fds=(),
            errors="replace"):
        # the command leaves its memory to its exit, by design
        return subprocess.run(
            [os.path.join(BUILD, "blkgraph"), *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors=errors,
            timeout=TIMEOUT, cwd=cwd or self.dir, pass_fds=pass_fds,
            env={**os.environ, "BLKGRAPH_SOCKET": self.path,
                 "ASAN_OPTIONS": "detect_leaks=0", "LC_ALL": "C",
                 **(env or {})})

    def ok(self, *arguments, **more):
        done = self.run(*arguments, **more)
        assert done.returncode == 0, done
        return done.stdout

    def fails(self, status, pattern, *arguments, **more):
        """Fails with the status and one line that the pattern is found in."""
        done = self.run(*arguments, **more)
        assert done.returncode == status, done
        assert done.stdout == "", done
        assert re.fullmatch(r"blkgraph: [^\n]*\n", done.stderr), done
        assert re.search(pattern, done.stderr), done

    def __enter__(self):
        return self

    def kill_daemon(self):
        """The one that a command started and a failed test left."""
        try:
            with open(self.path + ".lock") as lock:
                pid = int(lock.readline())
            if os.path.samefile(f"/proc/{pid}/exe",
                                os.path.join(BUILD, "blkgraphd")):
                os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            pass

    def __exit__(self, kind, *_):
        if self.own:
            if kind is not None:
                self.kill_daemon()
            shutil.rmtree(self.dir, ignore_errors=True)


def eventually(what):
    end = time.monotonic() + TIMEOUT
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def stop(process):
    """All of its threads stand still: the signal alone only says that they
    shall."""
    process.send_signal(signal.SIGSTOP)
    end = time.monotonic() + TIMEOUT
    folder = f"/proc/{process.pid}/task"
    for task in os.listdir(folder):
        while True:
            with open(f"{folder}/{task}/stat") as file:
                state = file.read().rpartition(")")[2].split()[0]
            if state == "T":
                break
            assert time.monotonic() < end, f"{process.pid} does not stop"


def need_root():
    if os.geteuid() != 0:
        raise Skip("mounting needs root")
    for path in "/dev/fuse", "/dev/loop-control":
        try:
            os.close(os.open(path, os.O_RDWR))
        except OSError as why:
            raise Skip(f"{path}: {why.strerror}") from why


def need_nothing_of_tmp():
    """For what has a /tmp of its own, and runs what was built."""
    if os.path.realpath(BUILD).startswith("/tmp/"):
        raise Skip("the build lies in /tmp")


@contextlib.contextmanager
def small_file_system(kind, size, *options):
    need_root()
    with tempfile.TemporaryDirectory(prefix="blkgraph-") as top:
        disk, point = os.path.join(top, "disk"), os.path.join(top, "mnt")
        os.mkdir(point)
        quiet = {"check": True, "stdout": subprocess.DEVNULL}
        if kind == "tmpfs":
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}",
                            "small", point], **quiet)
        else:
            with open(disk, "wb") as file:
                file.truncate(size)
            subprocess.run(["mkfs." + kind, "-q", *options, disk], **quiet)
            subprocess.run(["mount", "-o", "loop", disk, point], **quiet)
        try:
            yield point
        except BaseException:
            subprocess.run(["umount", "-l", point], **quiet)
            raise
        subprocess.run(["umount", point], **quiet)


def need_fuse():
    if os.geteuid() != 0:
        raise Skip("mounting needs root")
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as why:
        raise Skip(f"/dev/fuse cannot be opened: {why.strerror}") from why


def own_mounts():
    """A mount namespace of this test's own: in the machine's any program that
    makes one just now would get a copy of our mounts, and keep it. Shared
    again inside, as on a machine that systemd started. Below a changed root
    the mount at / is out of reach, and stays as it was."""
    if ctypes.CDLL(None).unshare(0x20000) != 0:	# CLONE_NEWNS
        return
    for how in "--make-rprivate", "--make-rshared":
        subprocess.run(["mount", how, "/"], check=False,
                       stderr=subprocess.DEVNULL)


def refused(client, pattern, command, *, cls="GenericError", errno=None,
            **arguments):
    try:
        got = client.call(command, **arguments)
    except QmpError as error:
        assert re.search(pattern, error.desc), error.desc
        assert error.cls == cls, error.cls
        assert errno is None or error.errno == errno, error.errno
    else:
        raise AssertionError(f"{command} {arguments} gave {got}")


def run(names):
    # what programs leave in their folder goes with it
    with tempfile.TemporaryDirectory(prefix="blkgraph-") as folder:
        os.chdir(folder)
        failed = run_tests(names)
        os.chdir(TOP)
    sys.exit(failed != 0)


def run_tests(names):
    passed = failed = skipped = 0
    for name, test in list(names.items()):
        if not name.startswith("test_"):
            continue
        try:
            test()
        except Skip as why:
            print(f"skip {name}: {why}")
            skipped += 1
        except Exception:
            print(f"FAIL {name}")
            traceback.print_exc(file=sys.stdout)
            failed += 1
        else:
            print(f"ok {name}")
            passed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return failed
