# SPDX-License-Identifier: MIT
"""A file that the tests serve by FUSE themselves, one operation at a time silent,
slow or failing, switched while it runs.

    with faulty.File(path, 1 << 20) as file:
        file.silent("read")           # until file.heal("read"), or the end
        file.slow("write", 0.5)       # each answer comes so much later
        file.fails("fsync", errno.EIO)

The names are those of OPERATIONS. What is held is answered by heal; abort makes
the kernel answer all of it with an error, now and later. A thread of the test
serves it, so the test itself must not touch the path while it is silent.
"""

import ctypes
import errno
import os
import stat
import struct
import subprocess
import threading

OPERATIONS = {
    "getattr": 3, "setattr": 4, "open": 14, "read": 15, "write": 16,
    "statfs": 17, "release": 18, "fsync": 20, "flush": 25, "getlk": 31,
    "setlk": 32, "access": 34, "fallocate": 43, "lseek": 46,
}
NAMES = {number: name for name, number in OPERATIONS.items()}
FORGET, INIT, INTERRUPT, BATCH_FORGET, SETLKW = 2, 26, 36, 42, 33
HEADER = struct.Struct("<IIQQIIIHH")
ANSWER = struct.Struct("<IiQ")
UNLOCKED = 2
MNT_FORCE, MNT_DETACH = 1, 2
POSIX_LOCKS, ASYNC_READ, BIG_WRITES = 2, 1, 32
DIRECT_IO = 1

libc = ctypes.CDLL(None, use_errno=True)


class File:
    def __init__(self, path, size):
        self.path = path
        self.data = bytearray(size)
        self.lock = threading.Lock()
        self.faults = {}        # by name: "silent", seconds, or an errno
        self.held = []          # (name, unique, answer)
        self.seen = set()
        self.device = None
        self.reader = None

    def __enter__(self):
        with open(self.path, "wb"):
            pass
        self.device = os.open("/dev/fuse", os.O_RDWR)
        options = (f"fd={self.device},rootmode={stat.S_IFREG | 0o600:o},"
                   "user_id=0,group_id=0,allow_other")
        if libc.mount(b"faulty", self.path.encode(), b"fuse.faulty", 0,
                      options.encode()):
            raise OSError(ctypes.get_errno(), "mount")
        self.reader = threading.Thread(target=self._serve, daemon=True)
        self.reader.start()
        return self

    def __exit__(self, *_):
        self.abort()
        self.reader.join()
        os.close(self.device)

    def silent(self, name):
        self._fault(name, "silent")

    def slow(self, name, seconds):
        self._fault(name, float(seconds))

    def fails(self, name, code):
        self._fault(name, code)

    def _fault(self, name, what):
        assert name in OPERATIONS, name
        with self.lock:
            self.faults[name] = what

    def heal(self, name):
        """As if nothing had been: what it was asked meanwhile is answered."""
        with self.lock:
            del self.faults[name]
            free = [held for held in self.held if held[0] == name]
            self.held = [held for held in self.held if held[0] != name]
        for _, unique, answer in free:
            self._answer(unique, answer)

    def waits(self, name):
        """How many of these it holds."""
        with self.lock:
            return sum(held[0] == name for held in self.held)

    def abort(self):
        libc.umount2(self.path.encode(), MNT_FORCE)
        libc.umount2(self.path.encode(), MNT_DETACH)

    # --- serving ---

    def _serve(self):
        while True:
            try:
                request = os.read(self.device, 1 << 21)
            except OSError as why:
                if why.errno in (errno.EINTR, errno.ENOENT):
                    continue
                return  # unmounted or aborted
            _, code, unique, *_ = HEADER.unpack_from(request)
            if code not in (FORGET, BATCH_FORGET, INTERRUPT):
                self._request(code, unique, request[HEADER.size:])

    def _request(self, code, unique, body):
        name = NAMES.get(code)
        answer = self._do(code, body)
        with self.lock:
            self.seen.add(name)
            fault = self.faults.get(name)
            if fault == "silent":
                self.held.append((name, unique, answer))
                return
        if isinstance(fault, float):
            timer = threading.Timer(fault, self._answer, (unique, answer))
            timer.daemon = True
            timer.start()
        else:
            self._answer(unique, answer if fault is None else fault)

    def _answer(self, unique, answer):
        if isinstance(answer, int):
            message = ANSWER.pack(ANSWER.size, -answer, unique)
        else:
            message = ANSWER.pack(ANSWER.size + len(answer), 0, unique)
            message += answer
        try:
            os.write(self.device, message)
        except OSError:
            pass    # who asked is gone, or all of it

    def _attributes(self):
        size = len(self.data)
        return struct.pack("<QII6Q10I", 0, 0, 0, 1, size, size // 512, 0, 0,
                           0, 0, 0, 0, stat.S_IFREG | 0o600, 1, 0, 0, 0, 4096,
                           0)

    def _do(self, code, body):
        """The answer's bytes, or an errno, 0 for an answer without any."""
        name = NAMES.get(code)
        if code == INIT:
            return struct.pack("<IIIIHHIIHHI28x", 7, 31, 65536,
                               POSIX_LOCKS | ASYNC_READ | BIG_WRITES, 64, 48,
                               131072, 1, 32, 0, 0)
        if name in ("getattr", "setattr"):
            if name == "setattr" and body[0] & 8:
                size, = struct.unpack_from("<Q", body, 16)
                self.data[size:] = bytes(max(0, size - len(self.data)))
            return self._attributes()
        if name == "open":
            return struct.pack("<QIi", 1, DIRECT_IO, 0)
        if name == "read":
            _, offset, size = struct.unpack_from("<QQI", body)
            return bytes(self.data[offset:offset + size])
        if name == "write":
            _, offset, size = struct.unpack_from("<QQI", body)
            end = offset + size
            if end > len(self.data):
                self.data.extend(bytes(end - len(self.data)))
            self.data[offset:end] = body[40:40 + size]
            return struct.pack("<II", size, 0)
        if name == "statfs":
            return struct.pack("<5Q4I24x", 1 << 20, 1 << 19, 1 << 19, 1, 1,
                               4096, 255, 4096, 0)
        if name == "getlk":
            start, end = struct.unpack_from("<QQ", body, 16)
            return struct.pack("<QQII", start, end, UNLOCKED, 0)
        if name == "fallocate":
            _, offset, size, mode = struct.unpack_from("<QQQI", body)
            end = min(offset + size, len(self.data))
            if mode & 2 and offset < end:
                self.data[offset:end] = bytes(end - offset)
            return 0
        if name in ("setlk", "release", "fsync", "flush", "access") or \
                code == SETLKW:
            return 0
        return errno.ENOSYS


def mounts_of(path):
    """Whether the path is a mount still, for this process."""
    found = subprocess.run(["mountpoint", "-q", path], check=False)
    return found.returncode == 0
