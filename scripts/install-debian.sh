#!/bin/sh
# install-debian.sh LIST: the Debian packages of scripts/debian/LIST, those that are missing.
# Not root, or no Debian: says what to install and goes on (a person may have the programs
# from elsewhere; tests say which parts they miss), but fails when CI=true.
set -eu
list=$1
packages=$(sed 's/#.*//' "$(dirname "$0")/debian/$list")

give_up() {
  echo "$1" >&2
  [ "${CI:-}" != true ] || exit 1
  exit 0
}

command -v dpkg-query >/dev/null || give_up "not a Debian system: $list needs the programs of: $(echo $packages)"
missing=
for package in $packages; do
  dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] || give_up "Debian packages are missing and only root may install them: sudo apt-get install --no-install-recommends$missing"

echo "installing Debian packages for '$list':$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# Another apt may hold the lock: wait for it. Lists may be old or absent: refresh them first.
if ! { apt-get -q -o DPkg::Lock::Timeout=300 update && apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $missing; } >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  echo "Cannot install:$missing: apt-get failed, its last lines are above" >&2
  exit 1
fi
