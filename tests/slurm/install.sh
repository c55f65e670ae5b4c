#!/usr/bin/env bash
# Unpacks Slurm and munge from Debian's packages into a folder: nothing is installed system-wide,
# no service starts, and `srun` is in nobody's PATH.
#   tests/slurm/install.sh [FOLDER]
set -euo pipefail
folder=$(realpath -m "${1:-${DEEPSAL_SLURM:-${XDG_CACHE_HOME:-$HOME/.cache}/deepsal-slurm}}")
[ -x "$folder/usr/sbin/slurmctld-wlm" ] && exit 0
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
mkdir -p "$packages/partial" "$folder"
apt-get update -qq
apt-get install -qq -y --no-install-recommends --download-only \
  -o "Dir::Cache::archives=$packages" munge slurm-client slurmctld slurmd
for package in "$packages"/*.deb; do dpkg -x "$package" "$folder"; done
