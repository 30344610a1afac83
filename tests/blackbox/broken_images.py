# SPDX-License-Identifier: MIT
"""Makes qcow2 images that lie: each of CASES is one lie, told by changing a few
bytes of an image that qemu-img made. What must come of it stands beside it.

    make(name, folder) -> path of the image

Numbers are those of the qcow2 specification; the cases are those that other
readers of such images were once wrong about. Documentation/testing.md says
which of them, and which other tests, stand for which kind of lie.
"""

import os
import struct
import subprocess
import zlib

SIZE = 4 << 20			# of the virtual disks
DATA = 512 << 10		# of it that is written, from the start
CLUSTER = 64 << 10
U64 = (1 << 64) - 1
COPIED = 1 << 63
PACKED = 1 << 62		# a compressed cluster

# offset and struct format of header fields
FIELDS = {
    "magic": (0, "I"), "version": (4, "I"), "backing_offset": (8, "Q"),
    "backing_size": (16, "I"), "cluster_bits": (20, "I"), "size": (24, "Q"),
    "crypt": (32, "I"), "l1_size": (36, "I"), "l1_offset": (40, "Q"),
    "reftable_offset": (48, "Q"), "reftable_clusters": (56, "I"),
    "snapshots": (60, "I"), "snapshots_offset": (64, "Q"),
    "incompatible": (72, "Q"), "compatible": (80, "Q"),
    "autoclear": (88, "Q"), "refcount_order": (96, "I"),
    "header_length": (100, "I"), "compression": (104, "B"),
}

EXT_BACKING_FORMAT = 0xE2792ACA
EXT_FEATURES = 0x6803F857
EXT_BITMAPS = 0x23852875
EXT_CRYPTO = 0x0537BE77
EXT_DATA_FILE = 0x44415441


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def pattern_file(folder):
    path = os.path.join(folder, "pattern.raw")
    if not os.path.exists(path):
        with open(path, "wb") as f:
            f.write(bytes(range(1, 256)) * (DATA // 255 + 1))
            f.truncate(DATA)
            f.truncate(SIZE)
    return path


class Image:
    """An image file that is being changed."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as f:
            self.data = bytearray(f.read())

    def save(self):
        with open(self.path, "wb") as f:
            f.write(self.data)

    def get(self, at, fmt="Q"):
        return struct.unpack_from(">" + fmt, self.data, at)[0]

    def put(self, at, value, fmt="Q"):
        end = at + struct.calcsize(">" + fmt)
        if end > len(self.data):
            self.data.extend(bytes(end - len(self.data)))
        struct.pack_into(">" + fmt, self.data, at, value)

    def field(self, name):
        return self.get(*FIELDS[name])

    def set(self, **fields):
        for name, value in fields.items():
            at, fmt = FIELDS[name]
            self.put(at, value, fmt)

    def text(self, at, text):
        self.data[at:at + len(text)] = text

    # where things are

    @property
    def l1(self):
        return self.field("l1_offset")

    @property
    def l2(self):
        return self.get(self.l1) & 0x00FFFFFFFFFFFE00

    @property
    def reftable(self):
        return self.field("reftable_offset")

    @property
    def refblock(self):
        return self.get(self.reftable)

    def extension(self, kind, length, data=b""):
        """The first extension of the header; what follows it is nothing."""
        at = self.field("header_length")
        self.put(at, kind, "I")
        self.put(at + 4, length, "I")
        self.text(at + 8, data)
        end = at + 8 + (len(data) + 7) // 8 * 8
        self.put(end, 0)

    def backing_name(self, name):
        at = 4096
        self.text(at, name)
        self.set(backing_offset=at, backing_size=len(name))


# --- images to begin with -------------------------------------------------

def plain(path, folder, *options):
    run("qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", *options,
        pattern_file(folder), path)


def version2(path, folder):
    plain(path, folder, "-o", "compat=0.10")


def packed(path, folder):
    plain(path, folder, "-c")


def packed_zstd(path, folder):
    plain(path, folder, "-c", "-o", "compression_type=zstd")


def empty(path, folder, *options):
    run("qemu-img", "create", "-q", "-f", "qcow2", *options, path, str(SIZE))


def snapshot(path, folder):
    plain(path, folder)
    run("qemu-img", "snapshot", "-c", "one", path)


def bitmap(path, folder):
    plain(path, folder)
    run("qemu-img", "bitmap", "--add", path, "one")


def extended(path, folder):
    plain(path, folder, "-o", "extended_l2=on")


def over_another(path, folder):
    """An image over b.qcow2, which is over this one."""
    other = os.path.join(folder, "loop-b.qcow2")
    empty(path, folder)
    empty(other, folder)
    image = Image(other)
    image.backing_name(os.path.basename(path).encode())
    image.save()


def deep(path, folder):
    """The last of many images one over the other, all the same but for the
    name in them."""
    empty(path, folder)
    image = Image(path)
    for i in range(250):
        with open(os.path.join(folder, f"deep-{i}.qcow2"), "wb") as f:
            f.write(image.data)
        image.backing_name(b"deep-%d.qcow2" % i)


def over_short(path, folder):
    """Over a base that ends in a sector of its first cluster."""
    base = os.path.join(folder, "short.raw")
    with open(base, "wb") as f:
        f.write(b"base" * 200)
    empty(path, folder)


def packed_version2(path, folder):
    plain(path, folder, "-c", "-o", "compat=0.10")


def data_file(path, folder):
    plain(path, folder, "-o", "data_file=" + path + ".data")


# --- the lies --------------------------------------------------------------

CASES = {}


def case(name, begin=plain, refused=None, writable=None, read=None,
         write=None, zeroes=None):
    """
    refused: what the error says when it is opened, for reading too.
    writable: likewise, for writing only.
    read, write, zeroes: "ok" or "error", of the whole disk, and of its first
    cluster; None: both would be right.
    """
    def add(change):
        assert name not in CASES, name
        CASES[name] = {"begin": begin, "change": change, "refused": refused,
                       "writable": writable, "read": read, "write": write,
                       "zeroes": zeroes or write}
        return change
    return add


def header(name, refused, begin=plain, **fields):
    case(name, begin, refused)(lambda image: image.set(**fields))


# the header's numbers
header("magic", "not in qcow2 format", magic=0x514649FC)
for n in 0, 1, 4, 0xFFFFFFFF:
    header(f"version-{n}", f"version {n} is not supported", version=n)
for n in 0, 8, 22, 31, 64, 0xFFFFFFFF:
    header(f"cluster-bits-{n}", f"cluster.bits {n}", cluster_bits=n)
header("crypt-aes", "encryption", crypt=1)
header("crypt-luks", "encryption", crypt=2)
header("crypt-unknown", "crypt", crypt=255)
for n in 7, 0xFFFFFFFF:
    header(f"refcount-order-{n}", f"{n}", refcount_order=n)
for n in 0, 71, 72, 101, 103, CLUSTER + 8, 0xFFFFFFFF:
    header(f"header-length-{n}", f"{n}", header_length=n)

# size and L1 table
header("size-beyond-l1", "too small", size=1 << 40)
header("size-2-63", "size|too small|too large", size=1 << 63)
header("size-all-ones", "size|too small|too large", size=U64)
header("size-2-63-less-a-cluster", "too small", size=(1 << 63) - CLUSTER * 2)


@case("size-odd", read="ok", write="ok")
def _size_odd(image):
    """A disk that ends inside a sector, at the start of a cluster."""
    image.set(size=SIZE + 777)


header("l1-none", "too small", l1_size=0)
header("l1-32-mib", "L1", l1_size=(32 << 20) // 8 + 1)
header("l1-most", "L1", l1_size=0xFFFFFFFF)
header("l1-unaligned", "L1", l1_offset=0x30200)
header("l1-odd", "L1", l1_offset=0x30001)
header("l1-past-end", "L1", l1_offset=1 << 40)
header("l1-overflow", "L1", l1_offset=U64 - 0xFFFF)
header("l1-2-63", "L1", l1_offset=1 << 63)

# refcount table
header("reftable-none", "refcount table", reftable_clusters=0)
header("reftable-huge", "refcount table", reftable_clusters=(8 << 20) //
       CLUSTER + 1)
header("reftable-most", "refcount table", reftable_clusters=0xFFFFFFFF)
header("reftable-unaligned", "refcount table", reftable_offset=0x10200)
header("reftable-past-end", "refcount table", reftable_offset=1 << 40)
header("reftable-overflow", "refcount table", reftable_offset=U64 - 0xFFFF)

# snapshots
header("snapshots-65537", "snapshot", snapshots=65537)
header("snapshots-most", "snapshot", snapshots=0xFFFFFFFF)
header("snapshots-unaligned", "snapshot", snapshot, snapshots_offset=0x10200)
header("snapshots-overflow", "snapshot", snapshot,
       snapshots_offset=U64 - 0xFFFF)


def in_snapshot(name, at, value, fmt):
    @case(name, snapshot, writable="internal snapshots")
    def change(image):
        image.put(image.field("snapshots_offset") + at, value, fmt)


in_snapshot("snapshot-l1-unaligned", 0, 0x10200, "Q")
in_snapshot("snapshot-l1-most", 8, 0xFFFFFFFF, "I")
in_snapshot("snapshot-id-65535", 12, 0xFFFF, "H")
in_snapshot("snapshot-name-65535", 14, 0xFFFF, "H")
in_snapshot("snapshot-vm-state-most", 32, 0xFFFFFFFF, "I")
in_snapshot("snapshot-extra-1025", 36, 1025, "I")
in_snapshot("snapshot-extra-most", 36, 0xFFFFFFFF, "I")

# backing file names
header("backing-in-header", "backing", backing_offset=4, backing_size=8)
header("backing-past-cluster", "backing", backing_offset=CLUSTER - 4,
       backing_size=8)
header("backing-2-63", "backing", backing_offset=1 << 63, backing_size=8)
header("backing-name-1024", "1024", backing_offset=4096, backing_size=1024)
header("backing-name-most", "4294967295", backing_offset=4096,
       backing_size=0xFFFFFFFF)


def backing(name, text, refused, begin=empty):
    case(name, begin, refused)(lambda image: image.backing_name(text))


backing("backing-zero-byte", b"base\0.raw", "zero byte")
backing("backing-json", b'json:{"driver":"null-co"}', "json")
backing("backing-nbd", b"nbd://localhost/x", "nbd")
backing("backing-file-protocol", b"file:/no/such/file", "No such file")
backing("backing-missing", b"/nonexistent/base.raw", "No such file")
backing("backing-folder", b"/etc", "/etc")
backing("backing-itself", b"backing-itself.qcow2", "backing-itself")

backing("backing-two-in-a-loop", b"loop-b.qcow2", "same chain",
        begin=over_another)
backing("backing-250-deep", b"deep-249.qcow2", "deep|nest|200", begin=deep)


@case("backing-short", over_short, read="ok", write="ok")
def _backing_short(image):
    """What lies behind the base's end is zeroes, of the same cluster too."""
    image.backing_name(b"short.raw")
    image.extension(EXT_BACKING_FORMAT, 3, b"raw")


# extensions of the header
case("extension-past-cluster", refused="extension")(
    lambda image: image.extension(EXT_BACKING_FORMAT, 0x7FFFFFFF))
case("extension-most", refused="extension")(
    lambda image: image.extension(0x11223344, 0xFFFFFFFF))
case("extension-unknown", read="ok", write="ok")(
    lambda image: image.extension(0x11223344, 5, b"hello"))
case("features-odd", read="ok", write="ok")(
    lambda image: image.extension(EXT_FEATURES, 47, b"\0" * 47))

@case("extensions-without-end", read="ok", write="ok")
def _extensions_without_end(image):
    """Extensions up to the end of the cluster, and no end mark."""
    at = image.field("header_length")
    image.put(at, 0x11223344, "I")
    image.put(at + 4, CLUSTER - at - 8, "I")


@case("extension-over-backing-name", empty, refused="extension")
def _extension_over_backing_name(image):
    image.backing_name(b"base.raw")
    image.extension(0x11223344, 8192)


@case("extension-crypto-over-tables", read="ok", write="ok")
def _extension_crypto_over_tables(image):
    """It names the L1 table as its own, in an image that is not encrypted."""
    image.extension(EXT_CRYPTO, 16, struct.pack(">QQ", image.l1, CLUSTER))


@case("version-2-with-fields-of-3", version2, refused="extension")
def _version_2_with_fields_of_3(image):
    """Where version 3 has feature bits version 2 has extensions already."""
    image.set(incompatible=U64)


case("version-2-with-more-of-3", version2, read="ok", write="ok")(
    lambda image: image.set(compatible=1, autoclear=U64, refcount_order=99))


def bitmaps(name, count, size, offset, refused=None):
    @case(name, writable="bitmap", refused=refused)
    def change(image):
        image.set(autoclear=1)
        image.extension(EXT_BITMAPS, 24, struct.pack(
            ">IIQQ", count, 0, size, offset))


bitmaps("bitmaps-none", 0, 32, CLUSTER * 4, "number of bitmaps 0")
bitmaps("bitmaps-65536", 65536, 65536 * 24, CLUSTER * 4,
        "number of bitmaps 65536")
bitmaps("bitmaps-directory-most", 1, U64, CLUSTER * 4,
        "bitmap directory size 18446744073709551615")
bitmaps("bitmaps-unaligned", 1, 32, 0x10200, "bitmap directory offset 66048")
bitmaps("bitmaps-at-header", 1, 32, 0, "bitmap directory offset 0")
bitmaps("bitmaps-past-limit", 1, 32, 1 << 60, "bitmap directory offset")
# only who wants to know what they are reads them
bitmaps("bitmaps-past-end", 1, 32, 1 << 40)

# features
header("feature-data-file", "external data file", data_file)
header("feature-data-file-bit", "external data file", incompatible=4)
header("feature-extended-l2", "extended L2", extended)

@case("extended-l2-both-bits", extended, refused="extended L2")
def _extended_l2_both_bits(image):
    """A part of the cluster is there, and is zeroes."""
    image.put(image.l2 + 8, U64)


@case("extended-l2-packed", extended, refused="extended L2")
def _extended_l2_packed(image):
    image.put(image.l2, PACKED | CLUSTER * 5)
    image.put(image.l2 + 8, 1 << 32 | 1)


header("extended-l2-without-room", "cluster bits|extended L2", incompatible=16,
       cluster_bits=9)
header("feature-unknown", "bit 63", incompatible=1 << 63)
header("compression-type-2", "compression", packed_zstd, compression=2)
header("compression-type-without-bit", "compression", compression=1)
case("corrupt-bit", writable="corrupt", read="ok")(
    lambda image: image.set(incompatible=2))
case("dirty-and-corrupt", writable="corrupt", read="ok")(
    lambda image: image.set(incompatible=3))
case("dirty-bit", read="ok", write="ok")(
    lambda image: image.set(incompatible=1))


@case("feature-named-badly", refused="feature")
def _feature_named_badly(image):
    """A name that a terminal would obey."""
    name = b"\x1b]0;evil\x07\n".ljust(46, b"\0")
    image.set(incompatible=1 << 40)
    image.extension(EXT_FEATURES, 48, b"\0" + bytes([40]) + name)


@case("data-file-json", data_file, refused="external data file")
def _data_file_json(image):
    name = b'json:{"driver":"file","filename":"/etc/passwd"}'
    image.extension(EXT_DATA_FILE, len(name), name)


# files that end too early
def cut(name, length, refused, **more):
    @case(name, refused=refused, **more)
    def change(image):
        del image.data[length:]


cut("file-empty", 0, "")
cut("file-magic", 4, "")
cut("file-half-header", 71, "")
cut("file-header-512", 512, "")
cut("file-before-l1", CLUSTER, "")


# --- tables ------------------------------------------------------------------

def l1_entry(name, value, writable=None, read="error", write="error"):
    @case(name, writable=writable, read=read, write=write)
    def change(image):
        image.put(image.l1, value(image))


l1_entry("l2-unaligned", lambda i: i.l2 | 0x200 | COPIED)
l1_entry("l2-past-end", lambda i: 1 << 40 | COPIED,
         writable="data behind the end")
l1_entry("l2-far", lambda i: 0x00FFFFFFFFFF0000 | COPIED,
         writable="data behind the end")
l1_entry("l2-is-l1", lambda i: i.l1 | COPIED, writable="overlaps",
         read=None)
l1_entry("l2-is-reftable", lambda i: i.reftable | COPIED,
         writable="overlaps", read=None)
l1_entry("l2-is-refblock", lambda i: i.refblock | COPIED,
         writable="overlaps", read=None)
l1_entry("l2-none", lambda i: 0, read="ok", write="ok")


def l2_entry(name, value, begin=plain, read="error", write="error",
             writable=None):
    @case(name, begin, read=read, write=write, writable=writable)
    def change(image):
        image.put(image.l2, value(image))


l2_entry("data-unaligned", lambda i: i.get(i.l2) | 0x200)
l2_entry("data-past-end", lambda i: 1 << 40 | COPIED, write=None)
l2_entry("data-far", lambda i: 0x00FFFFFFFFFF0000 | COPIED, write=None)
l2_entry("data-is-header", lambda i: 1 | COPIED, read=None, write=None)
l2_entry("data-is-l1", lambda i: i.l1 | COPIED, read=None)
l2_entry("data-is-l2", lambda i: i.l2 | COPIED, read=None)
l2_entry("data-is-reftable", lambda i: i.reftable | COPIED, read=None)
l2_entry("data-is-refblock", lambda i: i.refblock | COPIED, read=None)
l2_entry("zero-unaligned", lambda i: i.get(i.l2) | 0x201)

l2_entry("zero-in-version-2", lambda i: 1, version2)

# compressed: bits 54 to 61 are the sectors less one, with 64 KiB clusters
l2_entry("packed-past-end", lambda i: PACKED | 1 << 40, packed, write=None)
l2_entry("packed-longest", lambda i: i.get(i.l2) | 0xFF << 54, packed,
         read=None, write=None)
l2_entry("packed-is-l1", lambda i: PACKED | 0xFF << 54 | i.l1, packed)
l2_entry("packed-is-l2", lambda i: PACKED | 0xFF << 54 | i.l2, packed)
l2_entry("packed-is-header", lambda i: PACKED | 0xFF << 54, packed)
l2_entry("packed-short", lambda i: i.get(i.l2) & ~(0xFF << 54), packed,
         read=None, write=None)
l2_entry("packed-copied", lambda i: i.get(i.l2) | COPIED, packed, read=None,
         write=None)
l2_entry("packed-one-sector-less", lambda i: i.get(i.l2) - (1 << 54), packed,
         read=None, write=None)
l2_entry("packed-and-zero", lambda i: i.get(i.l2) | 1, packed, read=None,
         write=None)
l2_entry("packed-across-end", lambda i: PACKED | 3 << 54 | len(i.data) - 700,
         packed, write=None)
l2_entry("packed-version-2", lambda i: i.get(i.l2), packed_version2,
         read="ok", write="ok")


def stream(name, begin, data, read="error", write=None):
    @case(name, begin, read=read, write=write)
    def change(image):
        at = image.get(image.l2) & ((1 << 54) - 1)
        image.text(at, data)


def deflate(data):
    z = zlib.compressobj(9, zlib.DEFLATED, -12)
    return z.compress(data) + z.flush()


stream("deflate-garbage", packed, b"\xff" * 256)
stream("deflate-ends-early", packed, deflate(b"x" * 1000))
stream("deflate-too-long", packed, deflate(b"x" * (CLUSTER * 4)), read=None)
stream("zstd-garbage", packed_zstd, b"\xff" * 256)
stream("zstd-window-2-31", packed_zstd,
       bytes.fromhex("28b52ffd00a8") + b"\xff" * 64)


# --- refcounts ----------------------------------------------------------------

def refs(name, change, writable=None, write=None):
    """What is read needs none of these."""
    case(name, writable=writable, read="ok", write=write)(change)


refs("refblock-unaligned", lambda i: i.put(i.reftable, i.refblock | 0x200))
refs("refblock-past-end", lambda i: i.put(i.reftable, 1 << 40))
refs("refblock-is-l1", lambda i: i.put(i.reftable, i.l1),
     writable="overlaps")
refs("refblock-is-reftable", lambda i: i.put(i.reftable, i.reftable),
     writable="overlaps")
refs("reftable-zeroed", lambda i: i.put(i.reftable, 0))
refs("refcounts-zeroed",
     lambda i: i.text(i.refblock, bytes(CLUSTER)))
refs("refcounts-most", lambda i: i.text(i.refblock, b"\xff" * CLUSTER))


def make(name, folder):
    """The image of a case, in the folder."""
    path = os.path.join(folder, name + ".qcow2")
    CASES[name]["begin"](path, folder)
    image = Image(path)
    CASES[name]["change"](image)
    image.save()
    return path
