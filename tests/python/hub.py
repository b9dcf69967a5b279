"""Reads a repository of a Hub with the official client, and commits the same files to another one.

usage: hub.py ENDPOINT TOKEN REPOSITORY REVISION FOLDER COPY
"""

import hashlib
import json
import os
import sys

endpoint, token, repository, revision, folder, copy = sys.argv[1:]
# The client chooses Xet by what is installed. A stand-in has LFS alone, as older servers do.
os.environ.update(HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HOME=os.path.join(folder, "home"))

from huggingface_hub import HfApi, ModelCard, snapshot_download  # noqa: E402

api = HfApi(endpoint=endpoint, token=token)
files = os.path.join(folder, "files")
snapshot_download(repository, revision=revision, local_dir=files, endpoint=endpoint, token=token)
hashes = {}
for name in sorted(os.listdir(files)):
    path = os.path.join(files, name)
    if os.path.isfile(path) and name != ".gitattributes":
        hashes[name] = hashlib.sha256(open(path, "rb").read()).hexdigest()

card = ModelCard.load(os.path.join(files, "README.md")).data.to_dict()
api.create_repo(copy, private=True)
api.upload_folder(repo_id=copy, folder_path=files, ignore_patterns=[".cache/**", ".gitattributes"])
tree = {entry.path: entry.blob_id for entry in api.list_repo_tree(copy) if entry.path != ".gitattributes"}
print(json.dumps({"hashes": hashes, "card": card, "copy": tree}))
