# Publishes files in a release on GitHub: finds or makes the tag's release as a draft, adds the files, then shows it.
# The token goes to curl by standard input, since other processes can see arguments.

travis_release_ask() {
  local method=$1 url=$2
  shift 2
  printf 'header = "Authorization: Bearer %s"\n' "${release_token//[\"\\]/}" |
    curl -sS --config - --retry 3 --max-time 600 -X "$method" -H 'Accept: application/vnd.github+json' \
      -w '\n%{http_code}' "$@" -- "$url"
}

# Asks, and keeps the answer in release_answer and its status in release_status.
travis_release_call() {
  release_answer=$(travis_release_ask "$@") || return 1
  release_status=${release_answer##*$'\n'}
  release_answer=${release_answer%$'\n'*}
}

travis_release_json() {
  local text=$1
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//$'\n'/\\n}
  text=${text//$'\r'/\\r}
  text=${text//$'\t'/\\t}
  printf '"%s"' "$text"
}

travis_release_failed() {
  printf '%bThe release %s: %s%b\n' "$ANSI_RED" "$release_tag" "$1" "$ANSI_RESET"
  return 1
}

# The first value of a text field of the answer.
travis_release_field() {
  [[ $release_answer =~ \"$1\"[[:space:]]*:[[:space:]]*\"([^\"]*)\" ]] && printf '%s' "${BASH_REMATCH[1]}"
}

travis_release() {
  local repo=${release_repo:-$TRAVIS_REPO_SLUG} files=() pattern file name base url upload id facts found
  release_tag=${release_tag:-$TRAVIS_TAG}
  release_tag=${release_tag:-$(git describe --tags --exact-match 2>/dev/null)}
  command -v curl > /dev/null || travis_release_failed 'the image has no curl to publish with' || return
  [ -n "$release_token" ] || travis_release_failed 'there is no token: `token` is missing or empty' || return
  [ -n "$release_tag" ] || travis_release_failed 'the commit has no tag; give `tag_name`' || return
  for pattern in "${release_files[@]}"; do
    pattern=$(eval "printf '%s' \"${pattern//[\"\`]/}\"")
    if [ "$release_glob" = true ]; then
      while IFS= read -r file; do
        [ -f "$file" ] && files+=("$file")
      done < <(compgen -G "$pattern" | LC_ALL=C sort)
    elif [ -f "$pattern" ]; then
      files+=("$pattern")
    fi
  done
  [ ${#files[@]} -gt 0 ] || travis_release_failed "no file is there of ${release_files[*]}" || return
  if [ -n "$release_body_file" ]; then
    release_body=$(cat "$release_body_file") || return
  fi

  base=${TRAVIS_GITHUB_API_URL%/}/repos/$repo/releases
  travis_release_call GET "$base/tags/$release_tag" || return
  if [ "$release_status" = 404 ]; then
    facts="{\"tag_name\": $(travis_release_json "$release_tag"), \"draft\": true"
    if [ -n "$release_target" ]; then
      facts+=", \"target_commitish\": $(travis_release_json "$release_target")"
    fi
    travis_release_call POST "$base" --data-binary "$facts}" || return
  fi
  [[ $release_status = 20? ]] || travis_release_failed "GitHub answered $release_status" || return
  upload=$(travis_release_field upload_url) || travis_release_failed 'GitHub named no address for files' || return
  upload=${upload%%\{*}
  id=${upload%/assets}
  id=${id##*/}

  for file in "${files[@]}"; do
    name=${file##*/}
    name=${name//[^A-Za-z0-9._-]/.}
    travis_release_call POST "$upload?name=$name" -H 'Content-Type: application/octet-stream' -T "$file" || return
    if [ "$release_status" = 422 ] && [ "$release_overwrite" = true ]; then
      travis_release_call GET "$base/$id/assets?per_page=100" || return
      # The assets one by one: each object's id comes before its name.
      found=$(printf '%s' "$release_answer" | tr -d '\n' | sed 's/"url"/\n&/g' |
        sed -nE "s|.*/releases/assets/([0-9]+)\".*\"name\" *: *\"${name//./\\.}\".*|\1|p" | head -n 1)
      [ -n "$found" ] || travis_release_failed "the older $name cannot be found" || return
      travis_release_call DELETE "$base/assets/$found" || return
      travis_release_call POST "$upload?name=$name" -H 'Content-Type: application/octet-stream' -T "$file" || return
    fi
    case $release_status in
      20?) printf 'Published %s.\n' "$file" ;;
      422) printf '%s is there already, and stays as it is (`overwrite: true` replaces it).\n' "$name" ;;
      *) travis_release_failed "GitHub answered $release_status to $name" || return ;;
    esac
  done

  facts="{\"draft\": ${release_draft:-false}, \"prerelease\": ${release_prerelease:-false}"
  facts+=", \"tag_name\": $(travis_release_json "$release_tag")"
  if [ -n "$release_name" ]; then
    facts+=", \"name\": $(travis_release_json "$release_name")"
  fi
  if [ -n "$release_body" ]; then
    facts+=", \"body\": $(travis_release_json "$release_body")"
  fi
  travis_release_call PATCH "$base/$id" --data-binary "$facts}" || return
  [[ $release_status = 20? ]] || travis_release_failed "GitHub answered $release_status" || return
  url=$(travis_release_field html_url) || url=
  printf 'The release %s is published%s.\n' "$release_tag" "${url:+ at $url}"
}
