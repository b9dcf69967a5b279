# Publishes a folder on a branch, by default gh-pages, from which GitHub serves it as a site. The token goes to git by the
# environment, since other processes can see arguments.

travis_pages_failed() {
  printf '%bThe branch %s: %s%b\n' "$ANSI_RED" "$pages_branch" "$1" "$ANSI_RESET"
  return 1
}

# The server that has the repository, by the address of its API.
travis_pages_host() {
  local api=${TRAVIS_GITHUB_API_URL%/}
  case $api in
    https://api.*) printf 'https://%s' "${api#https://api.}" ;;
    *) printf '%s' "${api%/api/v3}" ;;
  esac
}

travis_pages_git() {
  local header
  header=$(printf 'x-access-token:%s' "$pages_token" | base64 | tr -d '\n')
  # Git asks the one address alone, so the header goes nowhere else.
  GIT_TERMINAL_PROMPT=0 GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=http.extraHeader \
    GIT_CONFIG_VALUE_0="Authorization: Basic $header" GIT_CONFIG_KEY_1=http.followRedirects GIT_CONFIG_VALUE_1=false \
    git -C "$pages_work" "$@"
}

travis_pages() {
  local folder=${pages_local_dir:-.} repo=${pages_repo:-$TRAVIS_REPO_SLUG} url
  pages_branch=${pages_branch:-gh-pages}
  pages_host=$(travis_pages_host)
  [ -z "$pages_url" ] || pages_host=https://${pages_url#https://}
  pages_host=${pages_host%/}
  command -v git > /dev/null || travis_pages_failed 'the image has no git to publish with' || return
  [ -n "$pages_token" ] || travis_pages_failed 'there is no token: `token` is missing or empty' || return
  [ -d "$folder" ] || travis_pages_failed "there is no folder $folder: see \`local_dir\`" || return
  url=$pages_host/$repo.git
  pages_work=$(mktemp -d) || return
  git -C "$pages_work" init --quiet || return
  if [ "$pages_keep_history" != false ] &&
    travis_pages_git fetch --quiet --depth 1 "$url" "refs/heads/$pages_branch" 2> /dev/null; then
    git -C "$pages_work" symbolic-ref HEAD "refs/heads/$pages_branch"
    git -C "$pages_work" update-ref HEAD FETCH_HEAD || return
  else
    git -C "$pages_work" symbolic-ref HEAD "refs/heads/$pages_branch"
  fi
  (cd "$folder" && tar -c --exclude=./.git .) | tar -x -C "$pages_work" || return
  [ -z "$pages_fqdn" ] || printf '%s\n' "$pages_fqdn" > "$pages_work/CNAME"
  git -C "$pages_work" add --all --force . || return
  if git -C "$pages_work" rev-parse --quiet --verify HEAD > /dev/null &&
    git -C "$pages_work" diff --cached --quiet HEAD && [ "$pages_allow_empty" != true ]; then
    printf 'The branch %s has these files already.\n' "$pages_branch"
    rm -rf "$pages_work"
    return
  fi
  git -C "$pages_work" -c user.name="${pages_name:-Trainyard}" -c user.email="${pages_email:-trainyard@localhost}" \
    commit --quiet --allow-empty -m "${pages_message:-Deploy $TRAVIS_REPO_SLUG at $TRAVIS_COMMIT}" || return
  # Without the history, the branch is written over; with it, git refuses if somebody else was faster.
  if [ "$pages_keep_history" = false ]; then
    travis_pages_git push --quiet --force "$url" "HEAD:refs/heads/$pages_branch"
  else
    travis_pages_git push --quiet "$url" "HEAD:refs/heads/$pages_branch"
  fi || travis_pages_failed "$pages_host did not take it" || return
  rm -rf "$pages_work"
  printf 'The branch %s of %s is published.\n' "$pages_branch" "$repo"
}
