# Publishes a folder in a repository on the Hugging Face Hub, with the Hub's own client. The token goes to it by the
# environment.

travis_huggingface_failed() {
  printf '%bThe repository %s: %s%b\n' "$ANSI_RED" "$hf_repo" "$1" "$ANSI_RESET"
  return 1
}

travis_huggingface() {
  local folder=${hf_local_dir:-.}
  [ -n "$hf_token" ] || travis_huggingface_failed 'there is no token: `token` is missing or empty' || return
  [ -n "$hf_repo" ] || travis_huggingface_failed 'there is no repository: `repo` is missing or empty' || return
  [ -d "$folder" ] || travis_huggingface_failed "there is no folder $folder: see \`local_dir\`" || return
  HF_TOKEN=$hf_token HF_ENDPOINT=${hf_endpoint:-https://huggingface.co} HF_HUB_DISABLE_PROGRESS_BARS=1 \
    HF_HUB_DISABLE_TELEMETRY=1 hf_folder=$folder hf_repo=$hf_repo hf_type=${hf_type:-model} hf_private=$hf_private \
    hf_branch=${hf_branch:-main} hf_tag=$hf_tag hf_message=${hf_message:-"$TRAVIS_REPO_SLUG at $TRAVIS_COMMIT"} \
    travis_python_client huggingface_hub huggingface_hub python3 - << 'PYTHON'
import os
from huggingface_hub import HfApi

given = lambda name: os.environ["hf_" + name]
api, to = HfApi(), {"repo_id": given("repo"), "repo_type": given("type")}
api.create_repo(**to, private=given("private") != "false", exist_ok=True)
url = api.upload_folder(
    **to, folder_path=given("folder"), revision=given("branch"), commit_message=given("message"),
    ignore_patterns=[".git/*", "**/.git/*"],
)
if given("tag"):
    api.create_tag(**to, tag=given("tag"), revision=url.oid, exist_ok=True)
print(f"Published at {url}.")
PYTHON
}
