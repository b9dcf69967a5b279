#!/bin/bash
# Runs inside the image that airgapped/build.sh makes: the virtualenv that `language: python` activates, over Debian's
# own PyTorch. Debian's pip refuses to work outside of a virtualenv (PEP 668), so every job needs one.
set -euo pipefail
python=$1
[[ $(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])') == "$python" ]]

# Debian's PyTorch packages say of themselves that they are pre-releases (1.13.0a0), which `torch>=1.13` rejects: pip
# would set out to download gigabytes. Let both pip and torch.__version__ say the version that the package has.
site=/usr/lib/python3/dist-packages
for name in torch torchvision torchaudio; do
  version=$(dpkg-query -Wf '${Version}' "python3-$name" | sed 's/^[0-9]*://; s/[-+~].*//')
  [[ $name != torch ]] || torch=$version
  for metadata in "$site/$name"-*.*-info; do
    right=$site/$name-$version.${metadata##*.}
    [[ $metadata == "$right" ]] || mv "$metadata" "$right"
    sed -i "s/^Version: .*/Version: $version/" "$right"/{PKG-INFO,METADATA} 2>/dev/null || true
  done
  sed -i "s/^__version__ = .*/__version__ = '$version'/" "$site/$name/version.py"
done
# They ask for versions of other packages that Debian does not have, although its packages fit each other.
for metadata in "$site"/{torch,torchvision,torchaudio,sympy}-*.*-info; do
  sed -i 's/^\(Requires-Dist: [A-Za-z0-9._-]*\)[^;]*/\1/' "$metadata"/{METADATA,PKG-INFO} 2>/dev/null || true
  sed -i 's/^\([A-Za-z0-9._-]*\)[<>=!~].*/\1/' "$metadata/requires.txt" 2>/dev/null || true
done
python3 -m compileall -q "$site"/{torch,torchvision,torchaudio}/version.py

# The tests of the packages themselves. (Leaving them out while unpacking makes py3compile fail.)
find "$site"/{sympy,numpy,mpmath} -type d -name tests -prune -exec rm -rf {} +

environments=/home/travis/virtualenv
python3 -m venv --system-site-packages "$environments/python$python"
# `virtualenv: system_site_packages: true` asks for this name; here both are the same.
ln -sfn "python$python" "$environments/python${python}_with_system_site_packages"

# Not in Debian 12. Without a package index the image is still good for everything that doesn't write safetensors.
pip=$environments/python$python/bin/pip
"$pip" install --no-cache-dir --no-deps --only-binary :all: --retries 1 safetensors ||
  echo 'N: no package index within reach, the image has no safetensors'

# The promise of the image: what training projects ask for first is there without a network.
"$pip" install --no-index torch torchvision torchaudio "torch>=${torch%.*}" numpy pillow pyyaml
"$environments/python$python/bin/python" -c 'import torch, torchvision, torchaudio; print(torch.__version__, torch.rand(2) @ torch.rand(2))'
