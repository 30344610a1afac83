# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the guest tests share.  A test is one file of tests/vm/t, one behaviour;
# tests/vm/suite runs it in a guest with
#
#	KERNEL		6.12 or newest
#	SOAK		1 for the full products, else 0
#	FAST		folder on an ext4 on a quick disk, for images
#	SLOW		folder on an ext4 on a disk that QEMU throttles
#	SPARE		a disk for the test's own use
#	KEEP		folder whose files survive the guest
#
# A test prints one "ok" or "not ok" line for each thing that it found right
# or wrong, and ends at the first wrong one; "skip" ends it with a reason.
# Whatever it leaves behind is removed by the suite, which fails it for that.

set -u
shopt -s nullglob

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

daemon_pid() { pgrep -x blkgraphd; }

# devices of the kernel's ublk, whoever made them
ublk_devices() { ls /sys/class/ublk-char; }
no_ublk_devices() { [ -z "$(ublk_devices 2>/dev/null)" ]; }

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
