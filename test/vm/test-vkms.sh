#!/bin/bash
# test-vkms.sh WORK: the DRM tests against VKMS (card0) and virtio-gpu (renderD128) in a VM.
# WORK is kept between runs. On a machine with a card of its own `bun test test/e2e` needs no VM.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$1
test/vm/prepare.sh "$work"
shared=$(mktemp -d)
trap 'rm -rf "$shared"' EXIT
# CI=true: inside, a part that is missing is a failure.
cat >"$shared/job.sh" <<EOF
cd '$PWD' && CI=true NO_COLOR=1 node_modules/.bin/bun test --timeout=120000 -t 'real DRM devices' ./test/e2e/drm.test.ts
EOF
started=$SECONDS
status=0
# vkms first: it has no render node, and is to be card0.
test/vm/run.sh "$work" "$shared" vkms,virtio-gpu || status=$?
cat "$shared/job.log" 2>/dev/null || true
echo "the VM took $((SECONDS - started)) s"
# With real devices there nothing is skipped: a skip is a device that did not come up.
if [ "$status" = 0 ] && grep -qE '^\(skip\)' "$shared/job.log"; then
  echo "Tests were skipped in the VM" >&2
  exit 1
fi
exit "$status"
