# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the tests of tests/vm/t share.  A test is one file, one behaviour;
# tests/vm/rounds runs it, in a guest or on the machine itself, with
#
#	VIA		the way that it attaches: ublk, nbd or fuse
#	KERNEL		6.12 or newest in a guest, else native
#	SOAK		1 for the full products, else 0
#	FAST		folder on an ext4 on a quick disk, for images
#	SLOW		in a guest the same on a disk that QEMU throttles
#	PROGRAMS	folder with ublk-features, ublk-delete and image-lock
#	RUN		a word that the environment of all its processes has
#
# A test prints one "ok" or "not ok" line for each thing that it found right
# or wrong, and ends at the first wrong one; "skip" ends it with a reason.
# Whatever it leaves behind is removed by tests/vm/rounds, which fails it for
# that.  mnt is a folder to mount on.

set -u
shopt -s nullglob
mnt=$FAST/mnt
mkdir -p "$mnt"

# ok TEXT, not_ok TEXT: one result, with the second of the test it came in
ok() { echo "ok $* [$SECONDS s]"; }
not_ok() { echo "not ok $* [$SECONDS s]"; exit 1; }

# skip REASON: this kernel cannot show the behaviour
skip() { echo "skip: $*"; exit 77; }

# note TEXT: a number or a fact worth reading in the log
note() { echo "# $*"; }

# check TEXT COMMAND...: the command succeeds; what it says is shown if not
check() {
	local text=$1 out
	shift
	if out=$("$@" 2>&1); then
		ok "$text"
	else
		printf '  %s\n  status %d: %s\n' "$*" $? "$out"
		not_ok "$text"
	fi
}

# refused TEXT STATUS PATTERN COMMAND...: the command fails with that exit
# status and says on standard error something that matches
refused() {
	local text=$1 status=$2 pattern=$3 rc=0 err
	shift 3
	err=$("$@" 2>&1 >/dev/null </dev/null) || rc=$?
	if [ $rc = "$status" ] && grep -qiE -- "$pattern" <<<"$err"; then
		ok "$text"
	else
		printf '  %s\n  status %d, wanted %d; /%s/ in: %s\n' \
			"$*" $rc "$status" "$pattern" "$err"
		not_ok "$text"
	fi
}

# equal TEXT GOT WANTED
equal() {
	if [ "$2" = "$3" ]; then
		ok "$1"
	else
		printf '  got %s, wanted %s\n' "$2" "$3"
		not_ok "$1"
	fi
}

# eventually TEXT SECONDS COMMAND...: the command succeeds within the time.
# For what the kernel or another process does on its own and announces nowhere.
eventually() {
	local text=$1 end=$((SECONDS + $2))
	shift 2
	until "$@" >/dev/null 2>&1; do
		if [ $SECONDS -gt $end ]; then
			printf '  %s\n' "$*"
			not_ok "$text"
		fi
		sleep 0.1
	done
	ok "$text"
}

# within SECONDS COMMAND...: status 124 if it takes longer
within() { timeout -k 1 "$@"; }

# need_feature NAME: the test is about a feature of the kernel's ublk.  The
# newest kernel must have it: a test that never runs shows nothing.
need_feature() {
	if has_feature "$1"; then return; fi
	[ "$KERNEL" != newest ] || not_ok "the newest kernel offers $1"
	skip "this kernel's ublk has no $1"
}

has_feature() {
	modprobe ublk_drv
	"$PROGRAMS/ublk-features" | grep -qx "$1"
}

# attach ARG...: blkgraph attach, its device in $dev
attach() {
	dev=$(blkgraph attach "$@") || not_ok "attach $*"
	[ -b "$dev" ] || not_ok "attach $* gave '$dev', no block device"
}

# --- the daemon, and none that somebody else runs ---

socket=${BLKGRAPH_SOCKET:-/run/blkgraph/blkgraph.sock}
state_log=${BLKGRAPH_SOCKET:-/var/lib/blkgraph/blkgraph.sock}.state
fuse_dir=${BLKGRAPH_SOCKET:-/run/blkgraph/}${BLKGRAPH_SOCKET:+.}fuse

# daemons: the pids of all that this run started
daemons() {
	local p
	for p in $(pgrep -x blkgraphd); do
		! grep -qzx "RUN=$RUN" "/proc/$p/environ" 2>/dev/null ||
			echo "$p"
	done
}

# daemon_pid: the one on the socket, while it lives
daemon_pid() {
	local p
	p=$(head -n 1 "$socket.lock" 2>/dev/null) && daemons | grep -x "$p"
}
no_daemon() { [ -z "$(daemon_pid)" ]; }

# --- what differs between the ways to attach ---

# Every `blkgraph attach` goes VIA.  Without a word it takes ublk, which shows
# that this is the first choice.
[ $VIA = ublk ] || PATH=$HERE/via:$PATH

# loop_file DEVICE: what a loop device is on, if that is a file of ours.  "/"
# is one whose mount is gone.
loop_file() {
	local file=
	{ read -r file <"/sys/block/${1##*/}/loop/backing_file"; } 2>/dev/null
	case $file in "$fuse_dir"/* | /) echo "$file" ;; esac
}

# fuse_mounts PID|self: of ours in that process's namespace
fuse_mounts() {
	awk -v dir="$fuse_dir/" '/ - fuse\.blkgraph / && index($5, dir) == 1 {
		print $5 }' "/proc/$1/mountinfo"
}

# devices: one line for each that the kernel has of this way, whoever made it;
# natively of this run's daemon
devices() {
	local d f
	case $VIA in
	ublk) ls /sys/class/ublk-char 2>/dev/null ;;
	nbd) for d in /sys/block/nbd*/pid; do echo "${d%/pid}"; done ;;
	fuse)
		{
			# those that are on a file; a machine may have hundreds
			for d in /sys/block/loop*/loop; do
				d=${d%/loop}
				f=$(loop_file "$d")
				[ "$f" != / ] || [ "$KERNEL" = native ] ||
					echo "$d"
				[ "${f:-/}" = / ] || echo "$f"
			done
			fuse_mounts self
		} | sort -u ;;
	esac
}
no_devices() { [ -z "$(devices)" ]; }
one_device() { [ "$(devices | wc -l)" = 1 ]; }

# gone DEVICE: ublk takes the node away, the others have empty ones
gone() {
	case $VIA in
	ublk) [ ! -e "$1" ] ;;
	nbd) [ ! -e "/sys/block/${1##*/}/pid" ] ;;
	fuse) [ -z "$(loop_file "$1")" ] ;;
	esac
}

# dies_with_daemon: the kernel takes a device away that has no server, though
# somebody has it open.  The others stay, with errors, until nobody has, and
# after a daemon that was killed until the next start (K5, F10).
dies_with_daemon() { [ $VIA = ublk ]; }

# hardware_queues N: how many a device has that is given N queues.  A loop
# device has one, N threads read what comes.
hardware_queues() { if [ $VIA = fuse ]; then echo 1; else echo "$1"; fi; }

# depth N: attach's option; the kernel's NBD client has one depth
depth() { [ $VIA = nbd ] || echo "--depth $1"; }

# --- storage that can be made to answer nothing, and to go on ---

# A daemon beside the one that is tested makes it; while that is stopped, no
# request to it ends.

storage_of() { BLKGRAPH_SOCKET=$FAST/storage "$@"; }
storage_pid() { head -n 1 "$FAST/storage.lock"; }

# storage_make NAME: the device in $dev, 64 MiB
storage_make() {
	truncate -s 64M "$FAST/$1.storage"
	dev=$(VIA=fuse storage_of "$HERE/via/blkgraph" attach -n "$1" -f raw \
		"$FAST/$1.storage" 2>/dev/null) || not_ok "storage $1"
	[ -b "$dev" ] || not_ok "storage $1 is a block device"
}
storage_stop() { kill -STOP "$(storage_pid)"; }
storage_go_on() { kill -CONT "$(storage_pid)"; }
storage_remove() { storage_of blkgraph detach "$@"; }

# inflight DEVICE: requests that the device has not answered
inflight() {
	awk '{ print $1 + $2 }' "/sys/block/$(basename "$1")/inflight"
}
has_inflight() { [ "$(inflight "$1")" -gt 0 ]; }

# median of the numbers on standard input, one a line; likewise the others
median() { sort -n | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }
maximum() { sort -n | tail -n 1; }
mean() { awk '{ s += $1 } END { printf "%.1f\n", s / NR }'; }

# wait for MOUNTPOINT to go and for udev, which looks at whatever was closed
release() {
	umount "$1" || not_ok "umount $1"
	udevadm settle
}
