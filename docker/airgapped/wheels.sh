#!/bin/bash
# Runs inside the image that airgapped/build.sh makes, in place of python.sh: the virtualenv that `language: python`
# activates, with PyTorch from wheels.
set -euo pipefail
python=$1 torch=$2
[[ $(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])') == "$python" ]]

venv=/home/travis/virtualenv/python$python
python3 -m venv "$venv"
# `virtualenv: system_site_packages: true` asks for this name; here both are the same.
ln -sfn "python$python" "${venv}_with_system_site_packages"

install() { "$venv/bin/pip" install --no-cache-dir --progress-bar off "$@"; }
pytorch=("torch==$torch.*" torchvision)
others=(numpy pillow pyyaml safetensors)
wheels=/opt/trainyard/wheels
if [[ -d $wheels ]]; then
  install --no-index --find-links "$wheels" "${pytorch[@]}" "${others[@]}"
elif [[ -n ${PIP_INDEX_URL-} ]]; then
  install "${pytorch[@]}" "${others[@]}"
else
  # PyTorch's own index has wheels for CPUs alone, a tenth of the size of PyPI's, which bring CUDA along.
  install --retries 0 --timeout 15 --index-url https://download.pytorch.org/whl/cpu "${pytorch[@]}" ||
    install "${pytorch[@]}"
  install "${others[@]}"
fi

# Trains, and lists the libraries of CUDA that this did not load. Without a GPU no job ever loads them, but PyTorch cannot
# be imported without the others.
"$venv/bin/python" - >/tmp/unused <<'PYTHON'
import pathlib
import torch
import torchvision

model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 6 * 6, 1))
optimizer = torch.optim.AdamW(model.parameters())
model(torch.rand(2, 3, 8, 8)).square().mean().backward()
optimizer.step()
with open("/proc/self/maps") as maps:
    loaded = {line.split()[-1] for line in maps}
for library in pathlib.Path(torch.__file__).parents[1].glob("nvidia/**/*.so*"):
    if str(library.resolve()) not in loaded:
        print(library)
PYTHON
xargs -r rm -f </tmp/unused
rm -f /tmp/unused

# The promise of the image: what training projects ask for first is there without a network.
"$venv/bin/pip" install --no-index "torch==$torch.*" torchvision "${others[@]}"
"$venv/bin/python" -c 'import torch, torchvision; print(torch.__version__, torch.rand(2) @ torch.rand(2))'
