#!/bin/bash
# Builds the CPU job images for versions of Python. A version that a release of Debian has comes from Debian's packages
# (../airgapped/build.sh), any other from an image registry (Dockerfile).
set -euo pipefail

usage() {
  echo 'usage: docker/cpu/build.sh [--torch VERSION] [--wheels DIR] [--ca-certificates FILE] PYTHON_VERSION…'
}

torch='' wheels='' certificates=${SSL_CERT_FILE:-} versions=()
while (($#)); do
  case $1 in
    --torch | --wheels | --ca-certificates)
      [[ -n ${2-} ]] || { usage >&2; exit 2; }
      case $1 in
        --torch) torch=$2 ;;
        --wheels) wheels=$2 ;;
        --ca-certificates) certificates=$2 ;;
      esac
      shift ;;
    -h | --help) usage; exit ;;
    -*) usage >&2; exit 2 ;;
    *) versions+=("$1") ;;
  esac
  shift
done

docker=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
from_debian() { cut -d ' ' -f 1 "$docker/airgapped/pythons" | grep -qxF "$1"; }
offer="from Debian's packages: $(awk '{ printf "%s%s (%s)", comma, $1, $2; comma = ", " }' "$docker/airgapped/pythons")"

# Nothing is built before all versions are known to be possible.
((${#versions[@]})) || { usage >&2; exit 2; }
for version in "${versions[@]}"; do
  if [[ ! $version =~ ^3\.[0-9]+$ ]]; then
    echo "there can be no image of Python $version: give versions such as 3.12. Without an image registry, $offer" >&2
    exit 2
  fi
  from_debian "$version" && continue
  if [[ -n $wheels ]]; then
    echo "a folder of wheels goes with Python $offer; Python $version comes from an image registry" >&2
    exit 2
  fi
  base=python:$version-slim-bookworm
  if ! docker image inspect "$base" >/dev/null 2>&1 && ! why=$(docker pull --quiet "$base" 2>&1); then
    echo "Python $version comes from an image registry only, and $base cannot be had: $why" >&2
    echo "Load that image here by hand (docker load), or build one $offer" >&2
    exit 1
  fi
done

from_registry() {
  local context status=0
  context=$(mktemp -d)
  cp -a "$docker/rootfs" "$docker/provision.sh" "$docker/cpu/Dockerfile" "$context/"
  [[ -z $certificates ]] || cp "$certificates" "$context/certificates.pem"
  docker build --build-arg "PYTHON_VERSION=$1" --build-arg "TORCH=torch${torch:+==$torch.*}" \
    -t "trainyard/cpu:$1${torch:+-torch$torch}" "$context" || status=$?
  rm -rf "$context"
  return "$status"
}

options=(${torch:+--torch "$torch"} ${wheels:+--wheels "$wheels"} ${certificates:+--ca-certificates "$certificates"})
for version in "${versions[@]}"; do
  if from_debian "$version"; then
    "$docker/airgapped/build.sh" --python "$version" "${options[@]}"
  else
    from_registry "$version"
  fi
done
